"""Alternating runs of farmhaul and its rivals, and the table that compares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.measure import Usage
from tests.bench.result import TIMES, Result, middle, spread
from tests.bench.stand import Stand

OFFICIAL = "official client"
PLAIN = "requests loop"
#: Both send the bytes alone, without ftrack.
BOTO = "boto3, CRC-32"
BOTO_MD5 = "boto3, Content-MD5"
BOTO_MD5_SINGLY = "boto3, Content-MD5, file by file"
FARMHAUL = "farmhaul"
HEADER = ("", "seconds", "fastest to slowest", "runs", "speed", "against official", "API calls")


@dataclass(frozen=True)
class Contestant:
    """A contestant, and how often it runs: a slow rival with latency varies little."""

    name: str
    act: Callable[[], Usage]
    runs: int


@dataclass(frozen=True)
class Runs:
    """How often farmhaul runs, and how often each rival; a rival uploads 1 of ``share`` files."""

    ours: int
    theirs: int
    share: int = 1


def contestants(
    stand: Stand, files: Sequence[str], runs: Runs, names: Sequence[str]
) -> list[Contestant]:
    """Return farmhaul and those rivals, on the same files."""
    rivals: dict[str, Callable[[Sequence[str]], Usage]] = {
        OFFICIAL: lambda some: stand.rival("official", some),
        PLAIN: lambda some: stand.rival("plain", some),
        BOTO: lambda some: stand.rival("boto", some),
        BOTO_MD5: lambda some: stand.rival("boto_md5", some),
        BOTO_MD5_SINGLY: lambda some: stand.rival("boto_md5", some, one_by_one="yes"),
    }

    def rival(name: str) -> Usage:
        usage = rivals[name](files[:: runs.share])
        # File by file, and far away: the time for a file does not depend on their number.
        usage.seconds *= runs.share
        return usage

    return [
        Contestant(FARMHAUL, lambda: stand.haul(files), runs.ours),
        *(Contestant(name, lambda name=name: rival(name), runs.theirs) for name in names),  # type: ignore[misc]
    ]


def with_starts(usages: Mapping[str, Sequence[Usage]], boto: str) -> float:
    """Return how many times faster farmhaul is than boto3, with the start of both.

    boto3 registers nothing in ftrack, but has to be started, too.
    """
    theirs = median(usage.seconds + usage.start_s for usage in usages[boto])
    return theirs / middle(usages[FARMHAUL])


def alternate(those: Sequence[Contestant]) -> dict[str, list[Usage]]:
    """Run the contestants in turns, so that a disturbance of the machine affects all."""
    usages: dict[str, list[Usage]] = {contestant.name: [] for contestant in those}
    for turn in range(max(contestant.runs for contestant in those)):
        for contestant in those:
            if turn < contestant.runs:
                usages[contestant.name].append(contestant.act())
    return usages


def table(
    key: str, title: str, usages: Mapping[str, Sequence[Usage]], amount: tuple[float, str]
) -> Result:
    """Return the table; the speed is the amount, with its unit, divided by the seconds."""
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
    """Return how many times faster farmhaul is."""
    return middle(usages[rival]) / middle(usages[ours])


def timeline(runs: Sequence[Usage]) -> str:
    """Describe where the time of a run of farmhaul went: medians."""
    first_call, first_byte, first, last, end = (
        median(moments)
        for moments in zip(
            *(
                (
                    usage.api["first_call"] - usage.began,
                    usage.store["first_put"] - usage.began,
                    usage.api["first_located"] - usage.began,
                    usage.api["last_located"] - usage.began,
                    usage.seconds,
                )
                for usage in runs
            ),
            strict=True,
        )
    )
    return (
        f"farmhaul: first API call after {first_call:.2f} s, first byte sent {first_byte:.2f}, "
        f"first file located {first:.2f}, last {last:.2f}, the command exits {end:.2f}"
    )
