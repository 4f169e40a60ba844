"""The figures of the last page, and what has become slower since.

``--write`` keeps the figures of ``docs/benchmarks.md`` next to it, in ``docs/benchmarks.json``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.result import Result, Target

#: A figure that is worse by so much is named.
WORSE = 1.1


@dataclass(frozen=True)
class Page:
    """The figures of a page: each by the section's key and what it is."""

    date: str
    commit: str
    machine: str
    figures: Mapping[str, float]

    @classmethod
    def read(cls, path: Path) -> Page | None:
        """Return the figures; None if no page was written yet."""
        if not path.exists():
            return None
        fields: dict[str, Any] = json.loads(path.read_text())
        figures = {name: figure["value"] for name, figure in fields["figures"].items()}
        return cls(fields["date"], fields["commit"], fields["machine"], figures)


def write(path: Path, results: Sequence[Result], commit: str, machine: str) -> None:
    """Keep the figures."""
    fields = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit,
        "machine": machine,
        "figures": {
            name: {
                "value": float(f"{target.value:.4g}"),
                "unit": target.unit.strip(),
                "target": target.goal,
            }
            for name, target in _figures(results)
        },
    }
    path.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n")


def report(results: Sequence[Result], page: Page | None, machine: str) -> str:
    """Return a line for each figure, with that of the page, and the names of those that got worse.

    Figures of other machines differ, and so do those of one that has other work.
    """
    if page is None:
        return "No page to compare with: `make bench WRITE=1` writes docs/benchmarks.md"
    lines = [f"Compared with the page of {page.date}, commit {page.commit}"]
    if page.machine != machine:
        lines.append(f"which is from another machine: {page.machine}")
    worse = []
    rows = [("", "page", "now", "")]
    for name, target in _figures(results):
        last = page.figures.get(name)
        if last is None:
            rows.append((name, "-", target.shown, "new"))
            continue
        change = _times_worse(target, last)
        if change > WORSE:
            worse.append(f"  {name}: {last:.3g} to {target.value:.3g}{target.unit}")
        rows.append((name, f"{last:.3g}{target.unit}", target.shown, _percent(change)))
    widths = [max(len(row[n]) for row in rows) for n in range(3)]
    lines += [
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}".rstrip()
        for row in rows
    ]
    percent = f"{100 * (WORSE - 1):.0f} %"
    lines += (
        [f"\nSlower by more than {percent}:", *worse]
        if worse
        else [f"\nNothing is slower by more than {percent}"]
    )
    return "\n".join(lines)


def _figures(results: Sequence[Result]) -> list[tuple[str, Target]]:
    return [
        (f"{result.key}: {target.what}", target) for result in results for target in result.targets
    ]


def _times_worse(target: Target, last: float) -> float:
    """Return how many times worse a figure is than the last one; less than 1 if it is better."""
    worse, better = (last, target.value) if target.more_is_better else (target.value, last)
    if not better:
        return math.inf if worse else 1.0
    return worse / better


def _percent(change: float) -> str:
    if not change or change == math.inf:
        return "worse" if change else "better"
    percent = 100 * (change - 1)
    if abs(percent) < 1:
        return "same"
    return f"{percent:.0f} % worse" if percent > 0 else f"{100 * (1 / change - 1):.0f} % better"
