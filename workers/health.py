"""Whether a worker takes tasks: each worker notes it in Redis, ``python -m workers.health`` asks.

After a broken connection, a worker may stay up, and even answer a ping, but take no more tasks
from its queue. So every few seconds each worker notes in Redis that it takes tasks: it has asked
for tasks recently, or all its processes are busy and something moves. It takes the note back when
neither is true or when it shuts down, and a note that is too old does not count. Each worker also
notes its version, whether it takes tasks or not. Under systemd, one that takes none is restarted by
its unit.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import redis
from celery.worker import state

from tasks.chain import QUEUE
from tasks.config.environment import SettingsError
from tasks.config.sealing import Codec
from tasks.config.settings import Settings
from tasks.config.texts import visible
from tasks.intake.exit_codes import BAD_INPUT, FAULT, NO_REDIS, complain
from tasks.intake.ranges import some_of
from tasks.log import log
from tasks.records.fail_fast import fail_fast_redis
from tasks.records.keys import to_text
from tasks.records.status import Status
from tasks.stage import shared
from workers.broker import transport
from workers.steps import pulse
from workers.steps.periodic import PeriodicStep
from workers.wording import redis_problem

#: A worker asks for tasks every 13 s (``transport.BRPOP_S``). After this time without, something is
#: wrong.
SILENT_S = 30.0
#: What hangs is left behind sooner (``tasks.stage.threads``), and a call that nobody answers is
#: over sooner (``tasks.transfer.exchange``). The next look shows it: within a minute in all.
STALLED_S = 54.0
#: How often a worker tells Flower that it is there. Flower takes it for offline after twice as
#: long, as everybody else does (``tasks.records.nodes.WORKER_S``).
HEARTBEAT_S = 15.0
#: The pause between two notes, as a part of the longest.
SHORTEST = 0.9
VERSION = version("farmhaul")


class Health(PeriodicStep):
    """Notes that this worker is up, and whether it takes tasks; one that shuts down takes none."""

    interval_s = pulse.EACH_S
    #: At once: an upload that one node cannot read is left to those that are known.
    first_s = 0.0

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        # Flower waits for two of Celery's heartbeats before it takes a worker for offline.
        options_of_consumer = getattr(worker, "options", {})
        if not options_of_consumer.get("heartbeat_interval"):
            options_of_consumer["heartbeat_interval"] = HEARTBEAT_S

    def start(self, worker: Any) -> None:
        """Count the silence from now on: to get here takes long on a busy machine."""
        transport.last_asked = time.monotonic()
        super().start(worker)

    def _run(self) -> None:
        """Note until the worker stops, and then that it leaves.

        In the thread, because a Redis that does not answer must not hold up the shutdown.
        """
        super()._run()
        with suppress(redis.RedisError):
            self.record.scripts.run("note_leaving", node=str(self.worker.hostname))

    def act(self) -> float:
        """Note both; if the worker takes no tasks, log an error and take the second note back."""
        name = str(self.worker.hostname)
        silent_s = time.monotonic() - transport.last_asked
        # With all processes busy, progress decides: they may hang, or be no more.
        moves = shared.moved_s_ago() < STALLED_S
        busy = len(state.reserved_requests) >= self.worker.concurrency and moves
        takes_tasks = busy or silent_s < SILENT_S
        # One that is set aside, and has no other queue, has none to take tasks from: a restart does
        # not help, and would let it take uploads again.
        queues = self.worker.app.amqp.queues.consume_from
        is_aside = not queues
        is_local = QUEUE not in queues and not pulse.latest().is_aside
        is_away = True
        try:
            is_new, aside, unread, reconciler, held_ms = self.record.scripts.run(
                "note_worker",
                node=name,
                version=VERSION,
                takes_tasks=takes_tasks,
                is_local=is_local,
            )
            pulse.note(
                pulse.Pulse(
                    time.monotonic(),
                    bool(is_new),
                    bool(aside),
                    bool(unread),
                    to_text(reconciler),
                    held_ms / 1000,
                )
            )
            is_away = False
        finally:
            # While Redis is away, a restart would not help.
            if takes_tasks or is_aside or is_away:
                _tell_systemd()
        if not takes_tasks and not is_aside:
            log.error("not_consuming", silent_s=round(silent_s), text="restart this worker")
        # A note that meets each second heartbeat would keep another connection open for it.
        return random.uniform(SHORTEST, 1) * pulse.EACH_S


def _tell_systemd() -> None:
    """Tell systemd that this worker is well: a unit with WatchdogSec= restarts a silent one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address.startswith(("/", "@")):
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.settimeout(0)
            # By the manual of sd_notify, a leading @ stands for a name without a file.
            name = f"\0{address[1:]}" if address[0] == "@" else address
            to.sendto(b"WATCHDOG=1", name)


def main(arguments: list[str]) -> int:
    """Return the exit code: 0 if the worker takes tasks, 1 if not, 2 or 3 if it cannot be asked."""
    name = arguments[0] if arguments else f"celery@{socket.gethostname()}"
    try:
        status = Status(fail_fast_redis(Settings.from_environment()), Codec(()))
        workers = status.workers()
    except SettingsError as error:
        return complain(error, BAD_INPUT)
    except redis.RedisError as error:
        return complain(redis_problem(error), NO_REDIS)
    if name in workers:
        return 0
    others = some_of([*map(visible, workers)])
    others = f"these workers do: {others}" if others else "no worker does"
    return complain(f"{name} takes no tasks; {others}", FAULT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
