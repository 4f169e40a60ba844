"""Whether a worker takes tasks: said by the worker itself, asked by ``python -m workers.health``.

A worker may stay up, and even answer a ping, and yet take nothing more from its queue after a
broken connection. So it notes in Redis, every few seconds, that it does: either it has asked
for tasks lately, or all its processes are busy. Who keeps silent is struck off. That it is up,
and of which version, it notes in any case.
"""

from __future__ import annotations

import logging
import socket
import sys
import time
from importlib.metadata import version

import redis
from celery.worker import state

from tasks.config.redis_client import fail_fast_redis
from tasks.config.sealing import Codec
from tasks.config.settings import Settings, SettingsError
from tasks.records.keys import ALIVE, WORKERS
from tasks.records.status import WORKER_S, Status
from workers.broker import transport
from workers.steps.periodic import PeriodicStep

log = logging.getLogger("farmhaul")

#: kombu asks for tasks anew each second; after so long without, something is wrong.
SILENT_S = 20.0
VERSION = version("farmhaul")


class Health(PeriodicStep):
    """Notes that this worker is up, and that it takes tasks; one that shuts down takes none."""

    interval_s = 5.0

    def act(self) -> None:
        """Note both; when no tasks are taken, say so loudly in place of noting it."""
        name = str(self.worker.hostname)
        silent_s = time.monotonic() - transport.last_asked
        busy = len(state.reserved_requests) >= self.worker.concurrency
        # By Redis' own clock, and so the same to all.
        now, _ = self.record.client.time()
        pipeline = self.record.client.pipeline()
        pipeline.zadd(ALIVE, {f"{VERSION} {name}": now})
        if busy or silent_s < SILENT_S:
            pipeline.zadd(WORKERS, {name: now})
        else:
            log.error("not_consuming for %.0f s: this worker should be restarted", silent_s)
        for key in (ALIVE, WORKERS):
            pipeline.zremrangebyscore(key, "-inf", now - WORKER_S)
            pipeline.expire(key, WORKER_S)
        pipeline.execute()


def main(arguments: list[str]) -> int:
    """Tell whether a worker takes tasks: 0 it does, 1 it does not, 3 Redis is away."""
    name = arguments[0] if arguments else f"celery@{socket.gethostname()}"
    try:
        takes_tasks = (
            name in Status(fail_fast_redis(Settings.from_environment()), Codec(())).workers()
        )
    except SettingsError as error:
        print(f"farmhaul: {error}", file=sys.stderr)  # noqa: T201 a command
        return 2
    except redis.RedisError:
        print("farmhaul: Redis is not reachable", file=sys.stderr)  # noqa: T201 a command
        return 3
    if not takes_tasks:
        print(f"farmhaul: {name} takes no tasks", file=sys.stderr)  # noqa: T201 a command
    return 0 if takes_tasks else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
