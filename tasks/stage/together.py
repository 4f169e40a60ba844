"""One call for several uploads that writes nothing. If one makes ftrack slow, the others go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tasks.stage.outcomes import Outcomes
from tasks.transfer.errors import GivenBackError
from tasks.transfer.models import Transfer
from tasks.transfer.pace import SlowCallError, hurried

Call = Callable[[Sequence[Transfer]], Outcomes]


def call_together(call: Call, transfers: Sequence[Transfer]) -> Outcomes:
    """Make one call. If it takes much longer than others, make one for each of several groups.

    If then one group is slow, it has the upload that is the reason: each of the group is given
    back, to be claimed alone. If two are slow, it is ftrack, and the rest waits for it.
    """
    if len(transfers) < 2:  # noqa: PLR2004
        return call(transfers)
    try:
        with hurried():
            return call(transfers)
    except SlowCallError:
        return _call_in_groups(call, transfers)


def _call_in_groups(call: Call, transfers: Sequence[Transfer]) -> Outcomes:
    outcomes: Outcomes = {}
    size = math.isqrt(len(transfers))
    slow: Sequence[Transfer] = ()
    for first in range(0, len(transfers), size):
        group = transfers[first : first + size]
        try:
            with hurried():
                outcomes |= call(group)
        except SlowCallError:
            if slow:
                rest = [*slow, *transfers[first:]]
                return outcomes | call(rest)
            slow = group
    return outcomes | {one.upload_id: GivenBackError(one.upload_id, True) for one in slow}  # noqa: FBT003 plain values
