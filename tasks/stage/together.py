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

#: A call on a new connection needs some round trips more, which are long if ftrack is far.
CONNECT_S = 2.0


def call_together(call: Call, transfers: Sequence[Transfer], threads: Threads) -> Outcomes:
    """Make one call. If it takes much longer than others, find the uploads that are the reason.

    The calls that find them get the time of the call that they replace: each needs a new
    connection, which takes longer the farther ftrack is.
    """
    if len(transfers) < 2:  # noqa: PLR2004
        return call(transfers)
    begun = time.monotonic()
    if outcomes := _in_time(call, transfers, 0.0):
        return outcomes
    return call_in_groups(call, transfers, threads, time.monotonic() - begun)


def call_in_groups(
    call: Call, transfers: Sequence[Transfer], threads: Threads, least_s: float = CONNECT_S
) -> Outcomes:
    """Make one call for each of several groups at once, then one for each upload of the slow ones.

    What is slow by itself is given back, to be claimed alone. If most groups are slow, it is
    ftrack, and the rest waits for it. ``least_s`` is how long a call may take at least.
    """
    outcomes, slow = _calls_at_once(call, groups_of(transfers), threads, least_s)
    if len(slow) * 2 > len(transfers):
        return outcomes | call(slow)
    if len(slow) > 1:
        found, slow = _calls_at_once(call, [[file] for file in slow], threads, least_s)
        outcomes |= found
    return outcomes | {file.upload_id: GivenBackError(file.upload_id, True) for file in slow}  # noqa: FBT003 plain values


def _calls_at_once(
    call: Call, groups: Sequence[Sequence[Transfer]], threads: Threads, least_s: float
) -> tuple[Outcomes, list[Transfer]]:
    """Make a hurried call for each group; return what is known, and what was slow."""
    outcomes: Outcomes = {}
    slow: list[Transfer] = []
    answers = threads.run(groups, lambda group: _in_time(call, group, least_s))
    for group, answer in zip(groups, answers, strict=True):
        if isinstance(answer, Unfinished):  # the worker exits
            outcomes |= {file.upload_id: GivenBackError(file.upload_id) for file in group}
        elif answer:
            outcomes |= answer
        else:
            slow += group
    return outcomes, slow


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
