"""Whether a worker takes tasks: said by the worker itself, asked by ``python -m workers.health``.

A worker may stay up, and even answer a ping, and yet take nothing more from its queue after a
broken connection. So it notes in Redis, every few seconds, that it does: either it has asked
for tasks lately, or all its processes are busy. What keeps silent has its key expire.
"""

from __future__ import annotations

import logging
import socket
import sys
import time

import redis
from celery.worker import state

from tasks.connect import hasty_redis
from tasks.record import PREFIX
from tasks.settings import Settings, SettingsError
from workers import transport
from workers.periodic import PeriodicStep

log = logging.getLogger("farmhaul")

#: kombu asks for tasks anew each second; after so long without, something is wrong.
SILENT_S = 20.0
KEY_TTL_S = 30


class Health(PeriodicStep):
    """Notes that this worker takes tasks; one that shuts down takes none."""

    interval_s = 5.0

    def act(self) -> None:
        """Renew the key while tasks are taken; say it loudly when they are not."""
        silent_s = time.monotonic() - transport.last_asked
        busy = len(state.reserved_requests) >= self.worker.concurrency
        if busy or silent_s < SILENT_S:
            self.record.client.set(_key(str(self.worker.hostname)), int(time.time()), ex=KEY_TTL_S)
        else:
            log.error("not_consuming for %.0f s: this worker should be restarted", silent_s)


def _key(name: str) -> str:
    return f"{PREFIX}worker:{name}"


def main(arguments: list[str]) -> int:
    """Tell whether a worker takes tasks: 0 it does, 1 it does not, 3 Redis is away."""
    name = arguments[0] if arguments else f"celery@{socket.gethostname()}"
    try:
        takes_tasks = hasty_redis(Settings.from_environment()).exists(_key(name))
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
