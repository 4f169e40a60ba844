"""Runs taken alternately, and the table that sets them side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.measure import Usage
from tests.bench.result import TIMES, Result, middle, spread
from tests.bench.stand import Stand

OFFICIAL = "official client"
PLAIN = "requests loop"
BOTO = "boto3, bytes alone"
FARMHAUL = "farmhaul"
HEADER = ("", "seconds", "fastest to slowest", "runs", "speed", "against official", "API calls")


@dataclass(frozen=True)
class Contestant:
    """Who runs, and how often: a slow rival under latency varies little."""

    name: str
    act: Callable[[], Usage]
    runs: int


def contestants(stand: Stand, files: Sequence[str], ours: int, theirs: int) -> list[Contestant]:
    """All four on the same files."""
    rivals = {OFFICIAL: "official", PLAIN: "plain", BOTO: "boto"}
    return [
        Contestant(FARMHAUL, lambda: stand.haul(files), ours),
        *(
            Contestant(name, lambda rival=rival: stand.rival(rival, files), theirs)  # type: ignore[misc]
            for name, rival in rivals.items()
        ),
    ]


def alternate(those: Sequence[Contestant]) -> dict[str, list[Usage]]:
    """Let each have a turn, round after round: what disturbs the machine disturbs all."""
    usages: dict[str, list[Usage]] = {one.name: [] for one in those}
    for turn in range(max(one.runs for one in those)):
        for one in those:
            if turn < one.runs:
                usages[one.name].append(one.act())
    return usages


def table(
    key: str, title: str, usages: Mapping[str, Sequence[Usage]], amount: tuple[float, str]
) -> Result:
    """Set them side by side; the speed is an amount, with its unit, by the seconds."""
    result = Result(key, title, "", HEADER)
    official = middle(usages[OFFICIAL])
    for name, runs in sorted(usages.items(), key=lambda pair: -middle(pair[1])):
        seconds = middle(runs)
        calls = runs[-1].api.get("calls", 0)
        result.rows.append(
            (
                name,
                f"{seconds:.2f}",
                spread(runs),
                str(len(runs)),
                f"{amount[0] / seconds:.3g} {amount[1]}",
                f"{official / seconds:.2f}{TIMES}",
                str(calls) if calls else "",
            )
        )
    return result


def ratio(usages: Mapping[str, Sequence[Usage]], rival: str, ours: str = FARMHAUL) -> float:
    """How many times faster we are."""
    return middle(usages[rival]) / middle(usages[ours])


def timeline(runs: Sequence[Usage]) -> str:
    """Where the time of a run of ours went, by the servers' clocks: medians."""
    first_call, first_byte, first, last, end = (
        median(moments)
        for moments in zip(
            *(
                (
                    one.api["first_call"] - one.began,
                    one.store["first_put"] - one.began,
                    one.api["first_located"] - one.began,
                    one.api["last_located"] - one.began,
                    one.seconds,
                )
                for one in runs
            ),
            strict=True,
        )
    )
    return (
        f"farmhaul: first API call after {first_call:.2f} s, first byte sent {first_byte:.2f}, "
        f"first file located {first:.2f}, last {last:.2f}, the command exits {end:.2f}"
    )
