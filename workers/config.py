"""The settings of Celery, each with its reason.

Their names and meaning: https://docs.celeryq.dev/en/stable/userguide/configuration.html
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from kombu import Queue
from kombu.transport import TRANSPORT_ALIASES

from tasks.chain import FETCH_PRIORITY, PRIORITY_OF, QUEUE, queue_of
from tasks.config.sealing import SERIALIZER, message_codec, register_serializer
from tasks.config.sentinel import Sentinel
from tasks.config.settings import Settings, SettingsError
from workers.broker import seal

#: kombu's own transports let a worker exit when Redis restarts; see ``workers.broker.transport``.
TRANSPORTS = {
    "redis": "workers.broker.transport:Transport",
    "rediss": "workers.broker.transport:Transport",
    "sentinel": "workers.broker.transport:SentinelTransport",
}


def read_settings() -> Settings:
    """Read the environment; what is wrong with it goes to stderr, and the exit code is 2."""
    try:
        return Settings.from_environment()
    except SettingsError as error:
        print(f"farmhaul: {error}", file=sys.stderr)  # noqa: T201 before logging is set up
        raise SystemExit(2) from None


def make_config(settings: Settings) -> dict[str, Any]:
    """Make Celery's configuration of ours."""
    register_serializer(message_codec(settings))
    seal.use(message_codec(settings))
    TRANSPORT_ALIASES.update(TRANSPORTS)
    url, master = settings.redis_url, {}
    if url.startswith("sentinel://"):
        sentinel = Sentinel.from_url(url)
        url, master = sentinel.kombu_url(), {"master_name": sentinel.master}
    return {
        "broker_url": url,
        "broker_connection_retry_on_startup": True,
        # None: for ever. A worker outlives any outage of Redis.
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            **master,
            # A worker that dies has its tasks redelivered after this time; the lease of one
            # that lives is renewed.
            "visibility_timeout": settings.lease_s,
            # By default kombu looks for such tasks each 100 s only.
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 1,
            # A worker killed while it looked would block the others for 300 s.
            "unacked_mutex_expire": 5,
            "priority_steps": [*sorted(PRIORITY_OF.values()), FETCH_PRIORITY],
            "queue_order_strategy": "priority",
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
        },
        "result_backend": url,
        "result_backend_transport_options": master,
        # The record tells how an upload fares; of results only errors are kept, for an hour.
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": True,
        "result_expires": 3600,
        "task_serializer": SERIALIZER,
        "result_serializer": SERIALIZER,
        "accept_content": [SERIALIZER],
        "task_queues": [Queue(QUEUE), Queue(queue_of(socket.gethostname()))],
        "task_default_queue": QUEUE,
        # A link published by its forerunner would otherwise take over that one's priority.
        "task_inherit_parent_priority": False,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # A task in the memory of a busy worker is one that no idle worker can take.
        "worker_prefetch_multiplier": 1,
        # No task moves more than CLAIM_BYTES, and a stalled connection ends after a minute: who
        # is not done by then hangs, as on a mount that is gone.
        "task_time_limit": 3600,
        # A second SIGTERM's cold shutdown still gives running tasks this time to end.
        "worker_soft_shutdown_timeout": 20,
        # Flower and the exporter live on events.
        "worker_send_task_events": True,
        # Several attempts to publish the next link while Redis restarts: some 30 s.
        "task_publish_retry_policy": {
            "max_retries": 20,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 2,
        },
    }


celery_config = make_config(read_settings())
