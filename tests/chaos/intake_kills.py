"""``python -m tests.chaos.intake_kills lines|storm KILLS SEED``: kill workers while they take in.

``lines``: each worker gets requests, and kills itself when it is about to run a certain line of the
step. The lines are spread evenly over a round. ``storm``: requests arrive all the time, and the
worker is killed from outside, after a random time.

In both, what the dead worker held comes back as the reconciler gives it back, and is taken in by
the next one; meanwhile, uploads are located. At the end nothing may be lost, and nothing done
twice. Otherwise the command says what is wrong, and exits with 1.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import time
import uuid
from collections import Counter
from types import FrameType, SimpleNamespace
from typing import Any, NoReturn

from tasks import chain
from tasks.config.redis_client import worker_redis
from tasks.config.settings import Settings
from tasks.intake.envelope import make_body, sign
from tasks.intake.inbox import INBOX
from tasks.intake.request import PublishRequest, Request, UploadRequest
from tasks.intake.wire import to_wire
from tasks.records import commands, inbox, scripts
from tasks.records.counters import read
from tasks.records.delivery import Outcome, Settlement
from tasks.records.inbox import Overdue, waiting
from tasks.records.keys import TAKING, to_text, upload_key
from tasks.records.record import Record, open_record
from tasks.records.states import STAGES
from tasks.transfer.targets import Container, Publish, Target
from workers.app import app
from workers.steps import entries, intake
from workers.steps.intake import TakeIn

TRACED = {module.__file__ for module in (chain, commands, entries, inbox, intake, scripts)}
#: The longest life of a worker in the storm, in seconds: a round takes some ms.
LIFE_S = 0.08
REFUSED = b"farmhaul/1 -\n{}"


class Asked:
    """The requests so far, and how many records and refusals must come of them."""

    def __init__(self, seed: str) -> None:
        self.dice = random.Random(seed)
        self.requests: list[Request] = []
        self.expected: Counter[str] = Counter()

    def entries(self) -> list[bytes]:
        """Return what a few hooks push: files, one that nobody has looked at, a sequence, junk."""
        files = [self._file(10), self._file(20), self._file(None)]
        sequence = self._sequence(4)
        self.requests += [*files, sequence]
        self.expected += Counter(located=4, stored=4, enqueued=7, refused_requests=1)
        return [self._entry(*files[:2]), self._entry(files[2]), REFUSED, self._entry(sequence)]

    def _file(self, size: int | None) -> UploadRequest:
        mtime_ns = None if size is None else 1
        return UploadRequest(f"/mnt/{self._id()}.exr", Target(self._id()), size, mtime_ns)

    def _sequence(self, frames: int) -> PublishRequest:
        folder = f"/mnt/{self._id()}"
        target = Target.under_version(self._id(), "beauty")
        files = tuple(
            UploadRequest(f"{folder}/a.{n}.exr", Target.frame(target, str(n)), 5, 1, is_member=True)
            for n in range(1001, 1001 + frames)
        )
        publish = Publish((Container(target, ".exr", 0),))
        path = f"{folder}/a.%d.exr [1001-{1000 + frames}]"
        return PublishRequest(path, target.component_id, publish, files)

    def _entry(self, *requests: Request) -> bytes:
        return sign(make_body([*map(to_wire, requests)], time.time(), "node7"), [])

    def _id(self) -> str:
        return str(uuid.UUID(int=self.dice.getrandbits(128)))


def locate_all(record: Record) -> None:
    """Do what stages do: locate all that is pending, and store the members of publishes."""
    while True:
        claim_id = str(uuid.uuid4())
        for stage in STAGES:
            transfers = record.deliver(claim_id, stage, "w1").transfers
            if not transfers:
                return
            ends: dict[bool, Outcome] = {True: "stored", False: "located"}
            record.settle(
                [
                    Settlement(one, ends[one.is_member] if stage == STAGES[-1] else "advanced")
                    for one in transfers
                ]
            )


class Killer:
    """A trace function that counts the lines of the step, and kills at one of them."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> Killer | None:
        if frame.f_code.co_filename not in TRACED:
            return None
        if event == "line":
            if self.count == self.at:
                place = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
                print(f"at {place}", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            self.count += 1
        return self


def take_in(kill_at: int = -1, *, is_counted: bool = False) -> None:
    """Take in once, in a process of its own, which dies at a line, or prints how many it runs."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0) != 9 * (kill_at >= 0):
            raise AssertionError(f"the worker ended with status {status}, killed at {kill_at}")
        return
    step, killer = TakeIn(SimpleNamespace(hostname="w1@node7", app=app)), Killer(kill_at)
    sys.settrace(killer)
    step.act()
    sys.settrace(None)
    while kill_at < 0 and not is_counted and step.record.scripts.client.llen(INBOX):
        step.act()  # what has come back twice is taken in one by one
    if is_counted:
        print(killer.count, flush=True)
    os._exit(0)


def lines_of_a_round() -> int:
    """Count the lines that a round runs; the inbox must not be empty."""
    reader, writer = os.pipe()
    shown = os.dup(1)
    os.dup2(writer, 1)
    take_in(is_counted=True)
    os.dup2(shown, 1)
    return int(os.read(reader, 100))


def kill_at_lines(record: Record, asked: Asked, kills: int) -> None:
    """Kill a worker at each of so many lines of a round."""
    client, now = record.scripts.client, 0.0
    client.lpush(INBOX, *asked.entries())
    lines = lines_of_a_round()
    print(f"a round runs {lines} lines", flush=True)
    overdue = Overdue(record.scripts, lambda: now)
    for number in range(kills):
        # Nobody runs wake-ups here. Without this, later rounds would send none.
        client.delete(chain.list_key(chain.QUEUE, STAGES[0]))
        locate_all(record)
        client.lpush(INBOX, *asked.entries())
        take_in(number * lines // kills)
        if number % 2:
            locate_all(record)
        for _ in range(2):
            overdue.give_back()
            now += 60
        while client.llen(INBOX):  # what has come back twice is taken in one by one
            take_in()


def kill_in_a_storm(record: Record, asked: Asked, kills: int) -> None:
    """Push all the time, and kill one worker after the other."""
    client, now = record.scripts.client, 0.0
    overdue = Overdue(record.scripts, lambda: now)
    held = left = 0
    for number in range(kills):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            run_for_ever(writer)
        os.read(reader, 1)
        for end_of_pipe in (reader, writer):
            os.close(end_of_pipe)
        end = time.monotonic() + asked.dice.uniform(0, LIFE_S)
        while time.monotonic() < end:
            client.lpush(INBOX, *asked.entries())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        held += client.llen(TAKING) > left
        # Each entry comes back after a few more deaths, while another worker takes in.
        now += 4
        overdue.give_back()
        left = client.llen(TAKING)
        if number % 10 == 9:
            locate_all(record)
    print(f"{held} of {kills} were killed while they held entries", flush=True)
    while waiting(client).entries:
        now += 60
        overdue.give_back()
        if client.llen(INBOX):
            take_in()
            print(f"{client.llen(INBOX)} entries are left", flush=True)


def run_for_ever(ready: int) -> NoReturn:
    """Say that this process is ready, and take in until it is killed."""
    step = TakeIn(SimpleNamespace(hostname="w1@node7", app=app))
    os.write(ready, b".")
    while True:
        step.act()


def faults(record: Record, asked: Asked) -> list[str]:
    """Return what was lost, or done twice."""
    client = record.scripts.client
    return [
        *(f"{upload_id} is {state}" for upload_id, state in _states(client, asked) if state),
        *(
            f"{name}: {found} instead of {asked.expected[name]}"
            for name in asked.expected
            if (found := read(client).plain[name]) != asked.expected[name]
        ),
        *(["entries are left"] if waiting(client).entries else []),
    ]


def _states(client: Any, asked: Asked) -> list[tuple[str, str]]:
    wanted: dict[str, str] = {}
    for request in asked.requests:
        wanted[request.upload_id] = "located"
        if isinstance(request, PublishRequest):
            wanted.update((file.upload_id, "stored") for file in request.files)
    pipeline = client.pipeline(transaction=False)
    for upload_id in wanted:
        pipeline.hget(upload_key(upload_id), "state")
    found = zip(wanted.items(), map(to_text, pipeline.execute()), strict=True)
    return [(upload_id, state or "lost") for (upload_id, want), state in found if state != want]


def main(way: str, kills: int, seed: str) -> int:
    """Kill workers, and return the exit code."""
    logging.getLogger("farmhaul").addHandler(logging.NullHandler())
    settings = Settings.from_environment()
    record = open_record(settings, worker_redis(settings))
    asked = Asked(seed)
    {"lines": kill_at_lines, "storm": kill_in_a_storm}[way](record, asked, kills)
    locate_all(record)
    wrong = faults(record, asked)
    requests = len(asked.requests)
    print(f"{kills} kills, {requests} requests, {len(wrong)} lost or done twice", flush=True)
    print("\n".join(wrong[:20]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
