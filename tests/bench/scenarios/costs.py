"""The cost of an upload: CPU time of the workers, commands and bytes of Redis, and time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median

from cryptography.fernet import Fernet

from tests.bench.measure import Usage
from tests.bench.result import TIMES, Result, Target, middle
from tests.bench.rivals import empty_chain
from tests.bench.stand import Stand
from tests.farm import BIN, Worker
from tests.sandbox import seed

#: An upload that is a batch of its own cannot cost less.
EMPTY = "four empty tasks of Celery, one chain after the other"
#: Nor a file in a manifest.
ALONE = "MD5 and a PUT through requests alone"


def run(stand: Stand, quick: bool) -> list[Result]:
    count, runs = 500, 3 if quick else 5
    files = stand.files(count, 200_000, "small")
    key = {"FARMHAUL_SECRET_KEY": Fernet.generate_key().decode()}
    with stand.farm():
        batches = [stand.haul(files) for _ in range(runs)]
        alone = [1000 * stand.rival("put_alone", files).cpu_s / count for _ in range(runs)]
        singles = [stand.rival("storm", files[:50], one_by_one="yes") for _ in range(3)]
        waits = [_first_byte(stand, path) for path in files[:10]]
    with _bare_celery(stand):
        empty = [stand.rival("empty_chain", [], chains="50") for _ in range(4)][1:]
    sealed: list[Usage] = []
    if not quick:
        with stand.farm(env=key):
            sealed = [stand.haul(files) for _ in range(runs)]
    result = Result(
        "costs",
        "What a file of 200 kB costs",
        "A worker of 2 processes, near. CPU time is user and system time, from /proc. Commands "
        "include those inside scripts. A read is one read of a socket by Redis.",
        (
            "",
            "worker CPU, ms",
            "of it the pool",
            "Redis CPU, ms",
            "Redis commands",
            "Redis reads",
            "kB to Redis",
            "kB from Redis",
        ),
    )
    result.rows = [
        _row(f"manifest of {count}", batches, count),
        *([_row("the same, with FARMHAUL_SECRET_KEY", sealed, count)] if sealed else []),
        (ALONE, f"{median(alone):.2f}", "-", "-", "-", "-", "-", "-"),
        _row("one by one", singles, 50),
        _row(EMPTY, empty, 50),
    ]
    uses = [usage.redis for usage in batches if usage.redis]
    commands = median(use.total_calls for use in uses) / count
    redis_ms = 1000 * median(use.cpu_s for use in uses) / count
    cli_ms, program_ms = (1000 * median(pair[n] for pair in waits) for n in (0, 1))
    result.targets = [
        Target("CPU time of the worker for a file", _cpu_ms(batches, count), "<= 1.2", " ms"),
        Target("the same, one by one", _cpu_ms(singles, 50), "<= 5", " ms"),
        Target("Redis commands for a file", commands, "<= 60"),
        Target("CPU time of Redis for a file", redis_ms, "<= 0.15", " ms"),
    ]
    by_alone = _cpu_ms(batches, count) / median(alone)
    share = _cpu_ms(singles, 50) / _cpu_ms(empty, 50)
    result.notes = [
        f"in a manifest, a file costs {by_alone:.2f}{TIMES} the CPU time of {ALONE}",
        f"one by one, a file costs {share:.2f}{TIMES} the CPU time of {EMPTY}",
        *(
            f"with FARMHAUL_SECRET_KEY the manifest takes {share:.2f}{TIMES} the time"
            for share in ([middle(sealed) / middle(batches)] if sealed else [])
        ),
        (
            f"from the start of a cold `farmhaul enqueue` to the first byte at the store: "
            f"{cli_ms:.0f} ms; from the end of that command {program_ms:.0f} ms"
        ),
    ]
    return [result]


@contextmanager
def _bare_celery(stand: Stand) -> Iterator[None]:
    """Run a worker of Celery alone, with as many processes."""
    options = ("--concurrency=2", "--without-gossip", "--without-mingle")
    worker = Worker("bare", stand.folder, stand.env, options=options, app=empty_chain.__name__)
    stand.workers = [worker]
    try:
        worker.launch()
        worker.wait_ready()
        yield
    finally:
        stand.stop_workers()


def _cpu_ms(usages: Sequence[Usage], count: int) -> float:
    return 1000 * median(usage.worker_cpu_s + usage.pool_cpu_s for usage in usages) / count


def _row(name: str, usages: Sequence[Usage], count: int) -> tuple[str, ...]:
    uses = [usage.redis for usage in usages if usage.redis]
    return (
        name,
        f"{_cpu_ms(usages, count):.2f}",
        f"{1000 * median(usage.pool_cpu_s for usage in usages) / count:.2f}",
        f"{1000 * median(use.cpu_s for use in uses) / count:.2f}",
        f"{median(use.total_calls for use in uses) / count:.0f}",
        f"{median(use.reads for use in uses) / count:.1f}",
        f"{median(use.bytes_in for use in uses) / count / 1000:.1f}",
        f"{median(use.bytes_out for use in uses) / count / 1000:.1f}",
    )


def _first_byte(stand: Stand, path: str) -> tuple[float, float]:
    """Return the seconds to the first byte, from the start of the command and from its exit."""
    stand.sink.reset()
    name = f"first{time.monotonic_ns()}"
    began = time.monotonic()
    stand.cold(BIN / "farmhaul", "enqueue", path, "--version-id", seed.VERSION_ID, "--name", name)
    ended = time.monotonic()
    while not (first := stand.sink.store_stats()["first_put"]):
        time.sleep(0.005)
    return first - began, max(first - ended, 0.0)
