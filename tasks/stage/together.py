"""One call for several uploads that writes nothing. If one makes ftrack slow, the others go on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from tasks.stage.threads import Threads, Unfinished
from tasks.transfer.errors import GivenBackError
from tasks.transfer.models import Outcomes, Transfer
from tasks.transfer.pace import SlowCallError, hurried

Call = Callable[[Sequence[Transfer]], Outcomes]


def call_together(call: Call, transfers: Sequence[Transfer], threads: Threads) -> Outcomes:
    """Make one call. If it takes much longer than others, make one for each of several groups.

    These calls are made at once, and each gets the time of the call that it replaces: it needs a
    new connection, which takes longer the farther ftrack is. If few of them are slow, too, these
    have the uploads that are the reason: each of such a group is given back, to be claimed alone.
    If not, it is ftrack, and the rest waits for it.
    """
    if len(transfers) < 2:  # noqa: PLR2004
        return call(transfers)
    begun = time.monotonic()
    if outcomes := _in_time(call, transfers, 0.0):
        return outcomes
    waited_s = time.monotonic() - begun
    groups = groups_of(transfers)
    answers = threads.run(groups, lambda group: _in_time(call, group, waited_s))
    slow: list[Transfer] = []
    for group, answer in zip(groups, answers, strict=True):
        if isinstance(answer, Unfinished):  # the worker exits
            outcomes |= {file.upload_id: GivenBackError(file.upload_id) for file in group}
        elif answer:
            outcomes |= answer
        else:
            slow += group
    if len(slow) * 2 > len(transfers):
        return outcomes | call(slow)
    return outcomes | {file.upload_id: GivenBackError(file.upload_id, True) for file in slow}  # noqa: FBT003 plain values


def groups_of(transfers: Sequence[Transfer]) -> list[Sequence[Transfer]]:
    """Return groups in which one transfer is found with the fewest calls, first by group."""
    size = math.isqrt(len(transfers)) or 1
    return [transfers[first : first + size] for first in range(0, len(transfers), size)]


def _in_time(call: Call, transfers: Sequence[Transfer], least_s: float) -> Outcomes:
    """Make a hurried call; return nothing if it is slow."""
    try:
        with hurried(least_s):
            return call(transfers)
    except SlowCallError:
        return {}
