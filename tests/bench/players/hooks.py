"""Hooks of many hosts, played: ``python -m tests.bench.players.hooks JOB``.

Each hook is a thread that does what ``tasks.intake`` does, apart from starting a Python: it looks
at the file, signs the request, opens a connection, pushes, and closes it. It asks at times of its
own. It says "ready", waits for the time to begin, and prints what became of its requests.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tasks.config.hook_settings import HookSettings
from tasks.intake.bodies import make_bodies
from tasks.intake.build import Options, build_requests
from tasks.intake.deliver import TOTAL_S, signed
from tasks.intake.inbox import InboxError, push
from tasks.intake.manifest import Entry


class Job(NamedTuple):
    """What the hooks of this process ask for, all in *seconds*."""

    path: str
    version_id: str
    tag: str
    hooks: int
    requests: int
    seconds: float
    begin: str


class Played:
    """The hooks, and what became of their requests."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.settings = HookSettings.from_environment()
        self.seconds: list[float] = []
        self.late_s: list[float] = []
        self.asked: dict[str, float] = {}
        self.failed: Counter[str] = Counter()

    def run(self) -> None:
        """Run all hooks, and wait for them."""
        share = self.job.requests // self.job.hooks
        hooks = [
            threading.Thread(target=self._hook, args=(number, share))
            for number in range(self.job.hooks)
        ]
        begin = Path(self.job.begin)
        print("ready", flush=True)
        while not begin.exists():
            time.sleep(0.01)
        self.began = time.monotonic()
        for hook in hooks:
            hook.start()
        for hook in hooks:
            hook.join()

    def _hook(self, number: int, count: int) -> None:
        times = sorted(random.uniform(0, self.job.seconds) for _ in range(count))
        for place, at in enumerate(times):
            due = self.began + at
            time.sleep(max(due - time.monotonic(), 0))
            self._ask(f"{self.job.tag}.{number}.{place}", f"node{self.job.tag}{number:04}", due)

    def _ask(self, name: str, host: str, due: float) -> None:
        began = time.monotonic()
        entry = Entry(self.job.path, version_id=self.job.version_id, name=name)
        requests = build_requests([entry], self.settings, Options())
        asked_at = time.time()
        entries = signed(make_bodies(requests, asked_at, host, "render"), self.settings)
        try:
            push(self.settings.redis_url, entries, (), TOTAL_S)
        except InboxError as error:
            self.failed[str(error)] += 1
        else:
            self.asked[requests[0].upload_id] = asked_at
        self.seconds.append(time.monotonic() - began)
        self.late_s.append(began - due)


def main() -> None:
    threading.stack_size(256 << 10)
    played = Played(Job(**json.loads(sys.argv[1])))
    played.run()
    answer = {
        "seconds": played.seconds,
        "late_s": played.late_s,
        "asked": played.asked,
        "failed": played.failed,
    }
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
