"""What the page of the farm shows, as texts: the charts, and what holds uploads back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from tasks.config.texts import visible
from tasks.intake.answer import size
from workers.held_back import Limit, in_force
from workers.web.farm import Farm
from workers.wording import span

#: An entry of the inbox that is older than this has waited for a worker.
INBOX_S = 10
#: So near to a limit, the limit is what holds the farm back.
NEAR_LIMIT = 0.8
#: The samples of the history, one a minute, that the pace is taken from.
PACE_ROWS = 11
MONTH_S = 30 * 86400


class Chart(NamedTuple):
    """A line over an hour as an SVG of 300 by 60: its points, its highest value and its last."""

    title: str
    points: str
    area: str
    highest: str
    latest: str


def charts(history: Sequence[dict[str, float]]) -> list[Chart]:
    """Return the charts of the farm's last hour; none before there are two minutes."""
    rows = [*pairwise(history)]
    if not rows:
        return []
    spans = [max(after["at"] - before["at"], 1.0) for before, after in rows]

    def rates(name: str) -> list[float]:
        return [
            max(after.get(name, 0) - before.get(name, 0), 0) / span_s
            for (before, after), span_s in zip(rows, spans, strict=True)
        ]

    def bytes_text(value: float) -> str:
        return f"{size(round(value))}/s"

    def count_text(value: float) -> str:
        return f"{value:,.0f}"

    waits = [row.get("pending", 0) + row.get("retrying", 0) for row in history]
    found = [
        ("Throughput", rates("stored_bytes"), bytes_text),
        ("Located a minute", [60 * rate for rate in rates("located")], count_text),
        ("Waiting uploads", waits, count_text),
        ("Failed a minute", [60 * rate for rate in rates("failed")], count_text),
    ]
    return [
        _chart(title, values, text(max(values)), text(values[-1])) for title, values, text in found
    ]


def _chart(title: str, values: Sequence[float], highest: str, latest: str) -> Chart:
    top = max([*values, 1e-9])
    step = 300 / max(len(values) - 1, 1)
    points = [
        f"{number * step:.1f},{58 - 54 * value / top:.1f}" for number, value in enumerate(values)
    ]
    line = " ".join(points)
    return Chart(title, line, f"0,60 {line} {(len(values) - 1) * step:.1f},60", highest, latest)


def held_back_by(farm: Farm) -> str:
    """Return what the uploads that are pending wait for, in a sentence."""
    waiting = sum(row.count for row in farm.backlog)
    closed = [gate.service for gate in farm.gates if gate.closed]
    if not farm.takers:
        return "No worker takes uploads: start one, or see what is wrong with those above."
    if closed:
        return f"The outage of {' and '.join(closed)}: uploads go on by themselves when it is over."
    if farm.inbox.oldest_s is not None and farm.inbox.oldest_s > INBOX_S:
        return "Workers take in what hooks ask for, and have not caught up."
    limit = in_force(farm.limits, "bandwidth", farm.now)
    if not waiting:
        return " ".join(_holds_back_none_pending(farm, limit))
    if limit and limit.rate and _latest_rate(farm.history) >= NEAR_LIMIT * limit.rate:
        why = f"The limit of {limit.text}, in bytes a second: see farmhaul limit."
    else:
        many = f"{farm.takers} workers take" if farm.takers > 1 else "one worker takes"
        why = f"The workers: {many} what waits, one after the other. More workers would be faster."
    return f"{why} {_pace(farm, waiting)}".rstrip()


def _holds_back_none_pending(farm: Farm, limit: Limit | None) -> Iterator[str]:
    """Yield what is slow or is tried again though no upload is pending, in sentences."""
    if farm.retrying:
        one = farm.retrying == 1
        said = f"No upload is pending; {farm.retrying} {'is' if one else 'are'} retrying"
        if farm.why:
            because = "" if one else ", the latest because"
            why = visible(farm.why).rstrip(".")
            yield f"{said}{because}: {why}{'' if why.endswith('?') else '.'}"
        else:
            yield f"{said}; {'its page says' if one else 'their pages say'} why, and when."
    else:
        yield "Nothing: no upload is pending."
    if limit and limit.rate:
        yield f"What is being sent shares the limit of {limit.text}, in bytes a second."


def _pace(farm: Farm, waiting: int) -> str:
    """Return how long what waits will take, in a sentence; empty if nothing says so."""
    rows = farm.history[-PACE_ROWS:]
    if not rows:
        return ""
    passed_s = rows[-1]["at"] - rows[0]["at"]
    located = rows[-1].get("located", 0) - rows[0].get("located", 0)
    # Anybody may have written the history, so its numbers may go backwards.
    if not (located > 0 and passed_s > 0) or (left_s := waiting * passed_s / located) > MONTH_S:
        return ""
    return f"At the pace of the last {span(passed_s)}, all that waits is done in {span(left_s)}."


def _latest_rate(history: Sequence[dict[str, float]]) -> float:
    if not history[1:]:
        return 0.0
    before, after = history[-2:]
    moved = after.get("stored_bytes", 0) - before.get("stored_bytes", 0)
    return moved / max(after["at"] - before["at"], 1.0)
