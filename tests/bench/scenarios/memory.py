"""Memory of worker processes, which does not depend on the size of a file."""

from __future__ import annotations

from tests.bench.measure import peak_mib
from tests.bench.result import Result, Target
from tests.bench.stand import Stand


def run(stand: Stand, quick: bool) -> list[Result]:
    size = (2 if quick else 20) << 30
    result = Result(
        "memory",
        "Memory of a worker process",
        "The peak of each process since its start, in MiB (VmHWM, shared pages included), for one "
        "worker of 2 processes. The large file is sparse, and the sink receives all of it.",
        ("after", "main process", "pool, the largest", "speed"),
    )
    with stand.farm():
        small = stand.haul(stand.files(500, 200_000, "small"))
        result.rows.append(_row(stand, "500 files of 200 kB", 500 * 0.2, small.seconds))
        path = stand.sparse(size)
        large = stand.haul([path])
        result.rows.append(_row(stand, f"a file of {size >> 30} GiB", size / 1e6, large.seconds))
        peak = max(peak_mib(pid) for pid in (*stand.pids, *stand.pool_pids))
    cpu_s = (large.worker_cpu_s + large.pool_cpu_s) / (size / 1e9)
    result.targets = [Target("the largest process", peak, "<= 150", " MiB")]
    result.notes = [f"CPU time of the workers: {cpu_s:.2f} s per GB"]
    return [result]


def _row(stand: Stand, what: str, megabytes: float, seconds: float) -> tuple[str, ...]:
    main, pool = (max(map(peak_mib, pids)) for pids in (stand.pids, stand.pool_pids))
    return (what, f"{main:.0f}", f"{pool:.0f}", f"{megabytes / seconds:.0f} MB/s")
