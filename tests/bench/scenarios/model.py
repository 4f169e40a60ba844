"""The model of ``docs/scaling.md``: the work of Redis for a file, and a check against a run.

The model takes *a + b / n* for a file in batches of n files, and a constant rate for each running
worker. It is measured with one worker of two processes and with idle workers. Then a run with 16
worker processes, 50 ms away, is predicted and measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.measure import RedisUse, Usage
from tests.bench.result import Result, Target
from tests.bench.stand import Stand

BATCH = 50
WORKERS = 16
FAR_S = 0.05

#: The figures of the model: name, how to read it, and its format.
FIGURES: tuple[tuple[str, Callable[[RedisUse], float], str], ...] = (
    ("CPU time, ms", lambda use: 1000 * use.cpu_s, "{:.3f}"),
    ("commands, those in scripts too", lambda use: use.total_calls, "{:.1f}"),
    ("reads of a socket", lambda use: use.reads, "{:.2f}"),
    ("kB to Redis", lambda use: use.bytes_in / 1000, "{:.2f}"),
    ("kB from Redis", lambda use: use.bytes_out / 1000, "{:.2f}"),
)


@dataclass(frozen=True)
class Share:
    """One figure: for a file, for a batch, and for a running worker in a second."""

    a: float
    b: float
    idle: float

    def of(self, batch: int) -> float:
        return self.a + self.b / batch

    def predict(self, files: int, workers: int, seconds: float) -> float:
        return files * self.of(BATCH) + workers * seconds * self.idle


def run(stand: Stand, quick: bool) -> list[Result]:
    many, single, kept = (500, 30, 2000) if quick else (2000, 100, 10_000)
    [path] = stand.files(1, 200_000, "model")
    with stand.farm(workers=4, processes=1):
        idle = _idle(stand, 3 if quick else 10)
    with stand.farm():
        # The polling of --wait, by one client, is included.
        batches = _use(stand.haul([path] * many))
        singles = _use(stand.rival("storm", [path] * single, one_by_one="yes"))
    shares = {}
    for name, read, _ in FIGURES:
        for_batches = read(batches) / many
        # One by one: a worker of two processes runs all the time.
        b = (read(singles) / single - for_batches) / (1 - 1 / BATCH)
        shares[name] = Share(for_batches - b / BATCH, b, read(idle) / 4)
    pending, ended = _memory(stand, path, kept)
    return [_table(shares, pending, ended), _check(stand, shares, path, many)]


def _use(usage: Usage) -> RedisUse:
    if usage.redis is None:
        raise RuntimeError("the run has no figures of Redis")
    return usage.redis


def _idle(stand: Stand, seconds: float) -> RedisUse:
    """Return what Redis does in a second while four workers are idle."""
    before = RedisUse.look(stand.client)
    time.sleep(seconds)
    use = RedisUse.look(stand.client).since(before)
    return RedisUse(
        {name: round(calls / seconds) for name, calls in use.calls.items()},
        round(use.reads / seconds),
        round(use.bytes_in / seconds),
        round(use.bytes_out / seconds),
        use.cpu_s / seconds,
        use.memory,
    )


def _memory(stand: Stand, path: str, count: int) -> tuple[float, float]:
    """Return the bytes in Redis for an upload: while pending, and when located."""
    stand.redis.flush()
    before = RedisUse.look(stand.client).memory
    stand.enqueue([path] * count)
    stand.take_in()
    pending = RedisUse.look(stand.client).memory - before
    with stand.farm(warm=False):
        while stand.client.zcard("farmhaul:state:located") < count:
            time.sleep(0.1)
        time.sleep(2)  # claims and messages are removed
        ended = RedisUse.look(stand.client).memory - before
    return pending / count, ended / count


def _table(shares: dict[str, Share], pending: float, ended: float) -> Result:
    result = Result(
        "model",
        "What Redis does for a file",
        "By measure, with one worker of 2 processes near.",
        (
            "",
            "a file",
            "a batch",
            "in batches of 50",
            "in batches of 1",
            "an idle worker, a second",
        ),
    )
    for name, _, form in FIGURES:
        share = shares[name]
        cells = (share.a, share.b, share.of(BATCH), share.of(1), share.idle)
        result.rows.append((name, *(form.format(cell) for cell in cells)))
    cpu = shares[FIGURES[0][0]]
    result.notes = [
        f"memory: {pending:.0f} bytes while pending, {ended:.0f} bytes once located",
        (
            f"one core of Redis carries {1000 / cpu.of(BATCH):.0f} files/s in batches of {BATCH}, "
            f"{1000 / cpu.of(1):.0f} files/s one by one"
        ),
        (
            f"100,000 files: {pending / 10:.0f} MB while pending, {ended / 10:.0f} MB once "
            f"located, {cpu.of(BATCH) * 100:.0f} s of Redis' CPU time, "
            f"{2 * 100_000 // BATCH} API calls"
        ),
    ]
    return result


def _check(stand: Stand, shares: dict[str, Share], path: str, count: int) -> Result:
    with stand.farm(WORKERS, processes=1, env={"FARMHAUL_CONNECTIONS": "4"}):
        stand.far(FAR_S)
        usage = stand.haul([path] * count)
        stand.far(0)
    use = _use(usage)
    result = Result(
        "model-check",
        f"The model against a run with {WORKERS} worker processes",
        f"{count} files of 200 kB, {WORKERS} workers of one process, 50 ms away.",
        ("Redis, for all of the run", "predicted", "measured", "measured by predicted"),
    )
    for name, read, _ in FIGURES:
        predicted = shares[name].predict(count, WORKERS, usage.seconds)
        measured = read(use)
        row = (name, f"{predicted:.0f}", f"{measured:.0f}", f"{measured / predicted:.2f}")
        result.rows.append(row)
        if name.startswith("CPU"):
            off = abs(measured / predicted - 1)
            result.targets.append(Target("the model is wrong by", 100 * off, "<= 30", " %"))
    result.notes = [
        (
            f"{count / usage.seconds:.0f} files/s over all, {usage.api['calls']} API calls, "
            f"{usage.store['most_under_way']} PUTs under way at most"
        )
    ]
    return result
