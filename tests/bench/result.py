"""The result of a scenario: a table, and targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.bench.measure import Usage

TIMES = " \N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Target:
    """A figure and its goal: ``">= 6"`` or ``"<= 1.5"``; ``">="`` alone is a figure without one."""

    what: str
    value: float
    wanted: str
    unit: str = ""

    @property
    def more_is_better(self) -> bool:
        return self.wanted.startswith(">=")

    @property
    def has_goal(self) -> bool:
        return bool(self.goal)

    @property
    def goal(self) -> str:
        """The goal as people read it; empty if there is none."""
        _, _, number = self.wanted.partition(" ")
        return f"{'≥' if self.more_is_better else '≤'} {number}{self.unit}" if number else ""

    @property
    def reached(self) -> bool:
        _, _, number = self.wanted.partition(" ")
        if not number:
            return True
        goal = float(number)
        return self.value >= goal if self.more_is_better else self.value <= goal

    @property
    def shown(self) -> str:
        return f"{self.value:.3g}{self.unit}"

    def line(self) -> str:
        if not self.has_goal:
            return f"{self.what}: {self.shown}"
        verdict = "reached" if self.reached else "MISSED"
        return f"{verdict}: {self.what}: {self.shown}, target {self.goal}"


@dataclass
class Result:
    """A table with a title and an explanation."""

    key: str
    title: str
    about: str
    header: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    #: Curves for a plot: {name: [(x, y), …]}.
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def text(self) -> str:
        """Return the result as text for a terminal."""
        widths = [
            max(len(row[n]) for row in [self.header, *self.rows]) for n in range(len(self.header))
        ]
        lines = ["", self.title, "=" * len(self.title)]
        for row in (self.header, *self.rows):
            first, *others = row
            cells = [first.ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
            lines.append("  ".join(cells).rstrip())
        lines += [f"  {target.line()}" for target in self.targets]
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)

    def markdown(self) -> str:
        """Return the result as a section of ``docs/benchmarks.md``."""
        lines = [f"## {self.title}", "", self.about, ""]
        lines.append(f"| {' | '.join(self.header)} |")
        lines.append(f"|{'|'.join(['---', *['--:'] * (len(self.header) - 1)])}|")
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        found = [*(target.line() for target in self.targets), *self.notes]
        if found:
            lines += ["", *(f"- {line}" for line in found)]
        return "\n".join(lines) + "\n"


def middle(usages: Sequence[Usage]) -> float:
    """Return the median of the seconds."""
    return median(usage.seconds for usage in usages)


def spread(usages: Sequence[Usage]) -> str:
    """Describe the range from the fastest to the slowest."""
    seconds = [usage.seconds for usage in usages]
    return f"{min(seconds):.2f} to {max(seconds):.2f}"
