"""One file of 1 GiB, against the rivals and against the floor of the machine."""

from __future__ import annotations

from tests.bench.measure import Usage
from tests.bench.result import TIMES, Result, Target, middle, spread
from tests.bench.scenarios.side_by_side import (
    BOTO,
    BOTO_MD5,
    FARMHAUL,
    OFFICIAL,
    PLAIN,
    Contestant,
    Runs,
    alternate,
    contestants,
    ratio,
    table,
    timeline,
    with_starts,
)
from tests.bench.stand import Stand
from tests.farm import BIN

START = "cold start"
FLOOR = "floor: MD5 and send, two cores"


def run(stand: Stand, quick: bool) -> list[Result]:
    size = 1 << 30
    files = stand.files(1, size, "large")
    runs = Runs(3, 1) if quick else Runs(5, 3)
    rivals = [OFFICIAL, BOTO_MD5, BOTO, *([] if quick else [PLAIN])]
    with stand.farm():
        those = [
            *contestants(stand, files, runs, rivals),
            Contestant(FLOOR, lambda: stand.rival("floor", files), runs.ours),
            # A cold start with no other work than a query of Redis.
            Contestant(
                START,
                lambda: Usage(stand.cold(BIN / "farmhaul", "status", "--active")),
                runs.ours,
            ),
        ]
        usages = alternate(those)
    start_s = middle(usages.pop(START))
    about = (
        "One file, near. farmhaul's seconds include the cold start of its command. The floor is "
        "`tests/bench/rivals/floor.py`: two running processes read, hash and send 8 MiB parts "
        "through bare sockets, without signing, record or queue."
    )
    title = f"One file of {size >> 20} MiB, near"
    result = table("large", title, usages, (size / 1e6, "MB/s"))
    result.about = about
    floor_s = middle(usages[FLOOR]) + start_s
    ours = middle(usages[FARMHAUL])
    result.targets = [
        Target("against the official client", ratio(usages, OFFICIAL), ">= 2.3", TIMES),
        Target("seconds ÷ those of the floor and a cold start", ours / floor_s, "<= 1.1", TIMES),
        *(
            Target(
                f"against {boto}, with the start of both", with_starts(usages, boto), goal, TIMES
            )
            for boto, goal in ((BOTO_MD5, ">= 1"), (BOTO, ">="))
        ),
    ]
    last = usages[FARMHAUL][-1]
    cpu_s = (last.worker_cpu_s + last.pool_cpu_s) / (size / 1e9)
    result.notes = [
        timeline(usages[FARMHAUL]),
        (
            f"floor {middle(usages[FLOOR]):.2f} s ({spread(usages[FLOOR])}) and a cold start "
            f"{start_s:.2f} s: {floor_s:.2f} s"
        ),
        (
            f"the workers' CPU time is {cpu_s:.2f} s per GB; the sink's store took "
            f"{last.store['cpu_s']:.2f} s for the file"
        ),
        "boto3 has 10 requests at a time; farmhaul sends an MD5 with each part",
    ]
    return [result]
