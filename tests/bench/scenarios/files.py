"""Many files at once: 200 kB each, and the frames of a sequence, near and far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.result import TIMES, Result, Target, middle
from tests.bench.scenarios.side_by_side import (
    BOTO,
    BOTO_MD5,
    BOTO_MD5_SINGLY,
    FARMHAUL,
    OFFICIAL,
    PLAIN,
    Runs,
    alternate,
    contestants,
    ratio,
    table,
    timeline,
    with_starts,
)
from tests.bench.stand import Stand

FAR_S = 0.05
SMALL = "files of 200 kB"
NEAR = "Server and store respond at once (loopback)."
FAR = "Each response of server and store takes 50 ms, a new connection 50 ms more."
#: Far away a rival takes a minute and varies little, so it runs once; in short, with 1 of 5 files.
NEAR_RUNS, FAR_RUNS = Runs(5, 3), Runs(5, 1)
NEAR_IN_SHORT, FAR_IN_SHORT = Runs(3, 1), Runs(3, 1, share=5)


@dataclass(frozen=True)
class Files:
    """A set of files, the latency of the servers, and the goals by rival."""

    key: str
    what: str
    count: int
    size: int
    goals: dict[str, str]
    runs: Runs
    far_s: float = 0.0

    @property
    def title(self) -> str:
        where = f"{1000 * self.far_s:.0f} ms away" if self.far_s else "near"
        return f"{self.count} {self.what}, {where}"


def run_small(stand: Stand, quick: bool) -> list[Result]:
    """Measure a manifest of small files on loopback."""
    runs = NEAR_IN_SHORT if quick else NEAR_RUNS
    goals = {OFFICIAL: ">= 6", BOTO: ">= 1"}
    return [_run(stand, Files("small", SMALL, 500, 200_000, goals, runs), quick)]


def run_far(stand: Stand, quick: bool) -> list[Result]:
    """Measure the same with a data centre 50 ms away."""
    runs = FAR_IN_SHORT if quick else FAR_RUNS
    goals = {OFFICIAL: ">= 60", BOTO: ">= 1"}
    return [_run(stand, Files("far", SMALL, 200, 200_000, goals, runs, FAR_S), quick)]


def run_frames(stand: Stand, quick: bool) -> list[Result]:
    """Measure a manifest of the frames of a sequence."""
    what = "frames of 2 MB"
    goals = {OFFICIAL: ">= 2", BOTO_MD5: ">= 1.15", BOTO_MD5_SINGLY: ">= 1.15", BOTO: ">="}
    runs = NEAR_IN_SHORT if quick else NEAR_RUNS
    results = [_run(stand, Files("frames", what, 240, 2_000_000, goals, runs), quick)]
    if not quick:
        goals = {OFFICIAL: ">= 20", BOTO: ">= 1"}
        far = Files("frames-far", what, 240, 2_000_000, goals, FAR_RUNS, FAR_S)
        results.append(_run(stand, far, quick))
    return results


def _run(stand: Stand, those: Files, quick: bool) -> Result:
    files = stand.files(those.count, those.size, those.key.removesuffix("-far"))
    rivals: Sequence[str] = [*those.goals, *([] if quick else [PLAIN])]
    with stand.farm():
        stand.far(those.far_s)
        usages = alternate(contestants(stand, files, those.runs, rivals))
        stand.far(0)
    result = table(those.key, those.title, usages, (those.count, "files/s"))
    result.about = (
        f"{FAR if those.far_s else NEAR} farmhaul has one running worker of 2 processes. Its "
        "seconds are those of the process `farmhaul enqueue --manifest … --wait`, from start to "
        "exit. Those of the others do not include their imports and login."
    )
    result.targets = [
        Target("against the official client", ratio(usages, OFFICIAL), those.goals[OFFICIAL], TIMES)
    ]
    result.targets += [
        Target(f"against {boto}, with the start of both", with_starts(usages, boto), goal, TIMES)
        for boto, goal in those.goals.items()
        if boto != OFFICIAL
    ]
    starts = ", ".join(f"{name} {usages[name][-1].start_s:.2f} s" for name in those.goals)
    result.notes = [
        f"imports and login, not counted in the table: {starts}",
        timeline(usages[FARMHAUL]),
        f"the official client uploads {those.count / middle(usages[OFFICIAL]):.0f} files a second",
    ]
    if BOTO_MD5 in usages:
        result.notes.append(
            "boto3 with Content-MD5 has 10 requests at a time, which all files share; file by file "
            "it does what a loop of upload_file does. With CRC-32 it is that loop, as by default"
        )
    return result
