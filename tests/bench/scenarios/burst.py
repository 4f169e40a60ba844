"""An inbox burst, and a night at ten times its speed: hooks of many hosts, and real workers."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from cryptography.fernet import Fernet

from tasks.config.hook_key import derive_hook_key, hook_key_text
from tasks.config.settings import Settings
from tasks.intake.inbox import INBOX
from tasks.records.commands import Commands
from tasks.records.keys import TAKING, state_key
from tasks.records.scripts import open_scripts
from tasks.records.states import STATES
from tests.bench.measure import RedisUse, cpu_s
from tests.bench.players.hooks import Job
from tests.bench.recording import START_S
from tests.bench.result import Result, Target
from tests.bench.stand import Stand
from tests.helpers.many_records import fill
from tests.sandbox import seed
from tests.sandbox.process import Child, python_module

#: Processes that play hooks: threads of one share a core.
PROCESSES = 2
WORKERS = 4
#: How long the workers may take for what was asked.
PATIENCE_S = 300.0
POLL_S = 0.1


class Asked(NamedTuple):
    """What hooks have asked for, in how long, and what Redis and the workers made of it."""

    seconds: list[float]
    late_s: list[float]
    asked: dict[str, float]
    failed: Counter[str]
    taken_in_s: float
    located_s: float
    located: int
    most_waiting: int
    most_bytes: int
    use: RedisUse
    cpu_s: float

    @property
    def pushes(self) -> int:
        """All of them, also those that failed."""
        return len(self.asked) + self.failed.total()


def run(stand: Stand, quick: bool) -> list[Result]:
    """Push 10,000 requests of 1,000 hooks within 10 s, and twice as many of twice as many."""
    seconds = 3.0 if quick else 10.0
    results = []
    for hooks, requests in [(20, 100)] if quick else [(1000, 10_000), (2000, 20_000)]:
        asked = _asked(stand, hooks, requests, seconds)
        title = f"{requests:,} requests of {hooks:,} hooks in {seconds:.0f} s"
        results.append(_table(asked, f"burst of {requests:,}", title))
    return results


def run_night(stand: Stand, quick: bool) -> list[Result]:
    """Play the end of a night: 100,000 frames in ten hours, at ten times the speed."""
    records, requests, seconds = (300, 60, 3.0) if quick else (91_600, 8400, 300.0)
    asked = _asked(stand, requests // 10, requests, seconds, records)
    client: Any = stand.client
    ended = dict(client.zrange(state_key("located"), 0, -1, withscores=True))
    took = sorted(ended[one] - at for one, at in asked.asked.items() if one in ended)
    result = _table(
        asked,
        "night",
        f"{requests:,} frames in {seconds:.0f} s, with {records:,} records in Redis",
    )
    if took:
        result.rows.append(("from the push to located, median, s", f"{median(took):.2f}"))
        result.rows.append(("the slowest in a hundred, s", f"{_slow(took):.2f}"))
        result.rows.append(("the slowest, s", f"{took[-1]:.2f}"))
    return [result]


def _table(asked: Asked, key: str, title: str) -> Result:
    result = Result(
        key,
        title,
        f"Each hook signs each of its requests, and pushes it on a connection of its own, at times "
        f"of its own. {WORKERS} workers of one process take them in, and upload files of 1 kB to "
        "the sink. Records are sealed.",
        ("", "figure"),
    )
    files = max(asked.located, 1)
    result.rows = [
        ("pushed", f"{len(asked.asked):,}"),
        ("refused, or not within 1.5 s", f"{asked.failed.total():,}"),
        ("a push, median, ms", f"{1000 * median(asked.seconds):.1f}"),
        ("the slowest in a hundred, ms", f"{1000 * _slow(asked.seconds):.0f}"),
        ("the slowest, ms", f"{1000 * max(asked.seconds):.0f}"),
        ("most entries that wait", f"{asked.most_waiting:,}"),
        ("all taken in after, s", f"{asked.taken_in_s:.1f}"),
        ("located", f"{asked.located:,}"),
        ("all located after, s", f"{asked.located_s:.1f}"),
        ("Redis' memory at most, MiB more", f"{asked.most_bytes / 2**20:.1f}"),
        ("Redis CPU, ms a file", f"{1000 * asked.use.cpu_s / files:.2f}"),
        ("Redis' core, %", f"{100 * asked.use.cpu_s / asked.located_s:.0f}"),
        ("worker CPU, ms a file", f"{1000 * asked.cpu_s / files:.1f}"),
    ]
    late = f"hooks began late by {1000 * _slow(asked.late_s):.0f} ms at most, but for one in 100"
    result.notes = [late, *(f"{count} times: {text}" for text, count in asked.failed.items())]
    result.targets = [Target("requests that were not pushed", asked.failed.total(), "<= 0")]
    return result


def _slow(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) * 99 // 100]


def _asked(stand: Stand, hooks: int, requests: int, seconds: float, records: int = 0) -> Asked:
    stand.redis.flush()
    stand.sink.reset()
    key = Fernet.generate_key().decode()
    if records:
        _fill(stand, key, records)
    with stand.farm(WORKERS, 1, env={"FARMHAUL_SECRET_KEY": key}):
        [path] = stand.files(1, 1000, "asked")
        hook_key = hook_key_text(derive_hook_key(key))
        env = {"FARMHAUL_SECRET_KEY": "", "FARMHAUL_HOOK_KEY": hook_key}
        begin = stand.folder / f"begin{time.monotonic_ns()}"
        children = []
        for number in range(PROCESSES):
            job = Job(
                path,
                seed.VERSION_ID,
                f"h{number}",
                hooks // PROCESSES,
                requests // PROCESSES,
                seconds,
                str(begin),
            )
            command = python_module("tests.bench.players.hooks", json.dumps(job._asdict()))
            log = stand.folder / f"{begin.name}.{number}.log"
            children.append(Child("hooks", command, log, env={**stand.env, **env}))
        for child in children:
            child.wait_ready(lambda child=child: "ready" in child.log.read_text(), START_S)  # type: ignore[misc]
        return _watched(stand, children, begin, requests)


def _fill(stand: Stand, key: str, records: int) -> None:
    """Write the records of a night so far; nothing of it is left to do."""
    client: Any = stand.client
    scripts = open_scripts(Settings(stand.redis.url, secret_keys=(key,)), client)
    fill(scripts, records)
    commands = Commands(scripts)
    for state in ("pending", "retrying"):
        for upload_id in client.zrange(state_key(state), 0, -1):
            commands.cancel(upload_id)


def _watched(stand: Stand, children: list[Child], begin: Path, requests: int) -> Asked:
    """Let the hooks begin, and watch until all that they ask for is located."""
    client: Any = stand.client
    recorded, located = _records(stand)
    pids = [*stand.pids, *stand.pool_pids]
    before, cpu_before = RedisUse.look(client), cpu_s(pids)
    begin.touch()
    began = time.monotonic()
    most_waiting, most_bytes, taken_in_s, ended = 0, 0, 0.0, 0
    while time.monotonic() - began < PATIENCE_S:
        time.sleep(POLL_S)
        waiting = client.llen(INBOX) + client.llen(TAKING)
        most_waiting = max(most_waiting, waiting)
        most_bytes = max(most_bytes, int(client.info("memory")["used_memory"]) - before.memory)
        now_recorded, now_located = _records(stand)
        is_over = not any(child.alive for child in children)
        if is_over and not waiting and not taken_in_s:
            taken_in_s = time.monotonic() - began
        ended = now_located - located
        if taken_in_s and ended >= now_recorded - recorded:
            break
    seconds = time.monotonic() - began
    use, worker_cpu_s = RedisUse.look(client).since(before), cpu_s(pids) - cpu_before
    answers = [json.loads(child.log.read_text().splitlines()[-1]) for child in children]
    asked = Asked(
        [one for answer in answers for one in answer["seconds"]],
        [one for answer in answers for one in answer["late_s"]],
        {name: at for answer in answers for name, at in answer["asked"].items()},
        sum((Counter(answer["failed"]) for answer in answers), Counter()),
        taken_in_s,
        seconds,
        ended,
        most_waiting,
        most_bytes,
        use,
        worker_cpu_s,
    )
    missing = len(asked.asked) - (_records(stand)[0] - recorded)
    if missing > 0 or asked.pushes != requests:
        raise RuntimeError(f"{missing} of {requests} requests have no record")
    return asked


def _records(stand: Stand) -> tuple[int, int]:
    """Return how many uploads have a record, and how many are located."""
    pipeline: Any = stand.client.pipeline(transaction=False)
    for state in STATES:
        pipeline.zcard(state_key(state))
    counts = dict(zip(STATES, pipeline.execute(), strict=True))
    return sum(counts.values()), counts["located"]
