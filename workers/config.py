"""Celery's settings, each with its reason.

Their names and meanings: https://docs.celeryq.dev/en/stable/userguide/configuration.html
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from kombu import Queue
from kombu.transport import TRANSPORT_ALIASES

from tasks.chain import FETCH_PRIORITY, PRIORITY_OF, QUEUE, queue_of
from tasks.config.environment import SettingsError
from tasks.config.redis_url import parse_redis_url
from tasks.config.sealing import SERIALIZER, message_codec, register_serializer
from tasks.config.settings import Settings
from tasks.intake.exit_codes import BAD_INPUT, complain
from workers.broker import seal
from workers.broker.address import celery_address

#: With kombu's own, a worker may exit when Redis restarts; see ``workers.broker.transport``.
TRANSPORTS = {
    "redis": "workers.broker.transport:Transport",
    "rediss": "workers.broker.transport:Transport",
    "sentinel": "workers.broker.transport:SentinelTransport",
}


def read_settings() -> Settings:
    """Return the environment's settings; if they are wrong, exit with 2 and lines on stderr."""
    # A worker says all that is wrong together; workers.app checks it again for other starters.
    for_worker = "worker" in sys.argv[1:]
    try:
        return Settings.from_environment(for_worker=for_worker)
    except SettingsError as error:
        raise SystemExit(complain(error, BAD_INPUT)) from None


def make_config(settings: Settings) -> dict[str, Any]:
    """Return Celery's configuration for these settings, and make kombu use our transports."""
    register_serializer(message_codec(settings))
    seal.use(message_codec(settings))
    TRANSPORT_ALIASES.update(TRANSPORTS)
    address = celery_address(parse_redis_url(settings.redis_url))
    return {
        **address,
        "broker_connection_retry_on_startup": True,
        # None: forever. A worker outlives any outage of Redis.
        "broker_connection_max_retries": None,
        # Nor does it exit when Redis refuses a command, for example because it is a replica now.
        "broker_channel_error_retry": True,
        "broker_transport_options": {
            **address["broker_transport_options"],
            # After this time, a dead worker's tasks are delivered again. A live worker renews
            # its leases.
            "visibility_timeout": settings.lease_s,
            # By default, kombu looks for such tasks only every 100 s.
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 1,
            # By default, a worker killed while it looks blocks the others for 300 s.
            "unacked_mutex_expire": 5,
            "priority_steps": [*sorted(PRIORITY_OF.values()), FETCH_PRIORITY],
            "queue_order_strategy": "priority",
        },
        # The record holds an upload's state. Only the errors of failed tasks are kept, for an hour.
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": True,
        "result_expires": 3600,
        "task_serializer": SERIALIZER,
        "result_serializer": SERIALIZER,
        "accept_content": [SERIALIZER],
        "task_queues": [Queue(QUEUE), Queue(queue_of(socket.gethostname()))],
        "task_default_queue": QUEUE,
        # Otherwise, a stage would inherit the priority of the stage before it.
        "task_inherit_parent_priority": False,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # No idle worker can take a task that a busy worker has prefetched.
        "worker_prefetch_multiplier": 1,
        # The default of --time-limit. At half of it, a task begins nothing new, and the rest goes
        # on as a new task. What hangs is left behind in a minute. So it ends only what is broken.
        "task_time_limit": 3600,
        # More than any process has. A pool replaces a full process only if there is a limit, and
        # workers.steps.pool reports this much for a process whose threads hang.
        "worker_max_memory_per_child": 1 << 50,
        # After a second SIGTERM (cold shutdown), running tasks still get this time to finish.
        "worker_soft_shutdown_timeout": 20,
        # Flower shows tasks by their events.
        "worker_send_task_events": True,
        "worker_consumer": "workers.task_events:Together",
        # While Redis restarts, a worker tries for about 30 s to publish the next stage.
        "task_publish_retry_policy": {
            "max_retries": 20,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 2,
        },
    }


celery_config = make_config(read_settings())
