"""Many files at once: 200 kB each, and the frames of a sequence, near and far."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.result import TIMES, Result, Target, middle
from tests.bench.scenarios.side_by_side import (
    BOTO,
    FARMHAUL,
    OFFICIAL,
    alternate,
    contestants,
    ratio,
    table,
    timeline,
)
from tests.bench.stand import Stand

FAR_S = 0.05
OURS = 5
SMALL = "files of 200 kB"
NEAR = "Server and store respond at once (loopback)."
FAR = "Each response of server and store takes 50 ms, a new connection 50 ms more."


@dataclass(frozen=True)
class Files:
    """A set of files, the latency of the servers, and the goal."""

    key: str
    what: str
    count: int
    size: int
    wanted: float
    far_s: float = 0.0
    #: How often each rival runs. With latency one takes a minute, and varies little.
    theirs: int = 3

    @property
    def title(self) -> str:
        where = f"{1000 * self.far_s:.0f} ms away" if self.far_s else "near"
        return f"{self.count} {self.what}, {where}"


def run_small(stand: Stand, quick: bool) -> list[Result]:
    """Measure a manifest of small files on loopback."""
    count = 200 if quick else 500
    return [_run(stand, Files("small", SMALL, count, 200_000, 6))]


def run_far(stand: Stand, quick: bool) -> list[Result]:
    """Measure the same with a data centre 50 ms away."""
    count = 40 if quick else 200
    return [_run(stand, Files("far", SMALL, count, 200_000, 35, FAR_S, theirs=1))]


def run_frames(stand: Stand, quick: bool) -> list[Result]:
    """Measure a manifest of the frames of a sequence."""
    count = 48 if quick else 240
    what = "frames of 2 MB"
    return [
        _run(stand, Files("frames", what, count, 2_000_000, 2)),
        _run(stand, Files("frames-far", what, count, 2_000_000, 20, FAR_S, theirs=1)),
    ]


def _run(stand: Stand, those: Files) -> Result:
    files = stand.files(those.count, those.size, those.key.removesuffix("-far"))
    with stand.farm():
        stand.far(those.far_s)
        usages = alternate(contestants(stand, files, OURS, those.theirs))
        stand.far(0)
    about = (
        f"{FAR if those.far_s else NEAR} farmhaul has one running worker of 2 processes. Its "
        "seconds are those of the process `farmhaul enqueue --manifest … --wait`, from start to "
        "exit. Those of the others do not include their imports and login."
    )
    result = table(those.key, those.title, usages, (those.count, "files/s"))
    result.about = about
    # boto3 registers nothing in ftrack, but has to be started: the target includes both starts.
    boto = middle(usages[BOTO]) + usages[BOTO][-1].start_s
    result.targets = [
        Target(
            "against the official client", ratio(usages, OFFICIAL), f">= {those.wanted:g}", TIMES
        ),
        Target(
            "against boto3, with the start of both", boto / middle(usages[FARMHAUL]), ">= 1", TIMES
        ),
    ]
    starts = ", ".join(f"{name} {usages[name][-1].start_s:.2f} s" for name in (OFFICIAL, BOTO))
    result.notes = [
        f"imports and login, not counted in the table: {starts}",
        timeline(usages[FARMHAUL]),
    ]
    return result
