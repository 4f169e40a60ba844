"""One call for many transfers, halved until the one is found that ftrack refuses."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from tasks.transfer.errors import (
    OwnSettingsError,
    RequestRefusedError,
    UnexpectedAnswerError,
    UploadError,
)
from tasks.transfer.ftrack import FtrackRefusal
from tasks.transfer.models import Outcomes, Transfer

#: A call that took longer before it failed is not repeated for its halves: if ftrack answers
#: nothing in time, that would take minutes.
SPLIT_WITHIN_S = 10.0
#: What is asked of ftrack for several transfers at once. It may raise UploadError or FtrackRefusal.
Call: TypeAlias = Callable[[Sequence[Transfer]], Outcomes]
_Result: TypeAlias = "Outcomes | UploadError | FtrackRefusal"


def bisect_failures(call: Call, transfers: Sequence[Transfer], action: str) -> Outcomes:
    """Call once for all transfers; if that fails, bisect until the reason is found.

    One transfer among 50 that ftrack refuses, or has no usable answer for, costs about a dozen
    calls, and the others succeed. If ftrack answers neither of two halves, it may be down: they
    are not split further, and the transfers of each share one error object. ``action`` names the
    call in the error of a refused transfer, such as "register".
    """
    return _bisect(call, transfers, action, _attempt(call, transfers)) if transfers else {}


def _bisect(call: Call, transfers: Sequence[Transfer], action: str, result: _Result) -> Outcomes:
    """Return the outcomes of transfers for which one call had this result."""
    if isinstance(result, dict):
        return result
    if len(transfers) == 1:
        [transfer] = transfers
        if isinstance(result, FtrackRefusal) and result.may_pass:
            result = UnexpectedAnswerError("ftrack", f"a call to {action} it", str(result))
        elif isinstance(result, FtrackRefusal):
            result = RequestRefusedError(transfer.component_id, action, str(result))
        return {transfer.upload_id: result}
    middle = len(transfers) // 2
    halves = [transfers[:middle], transfers[middle:]]
    results = [_attempt(call, half) for half in halves]
    outcomes: Outcomes = {}
    may_be_down = all(isinstance(one, UploadError) for one in (result, *results))
    for half, half_result in zip(halves, results, strict=True):
        if may_be_down and isinstance(half_result, UploadError):
            outcomes |= _same_for_all(half, half_result)
        else:
            outcomes |= _bisect(call, half, action, half_result)
    return outcomes


def _attempt(call: Call, transfers: Sequence[Transfer]) -> _Result:
    begun = time.monotonic()
    try:
        return call(transfers)
    except FtrackRefusal as refusal:
        return refusal
    except UploadError as error:
        is_slow = time.monotonic() - begun > SPLIT_WITHIN_S
        if is_slow or isinstance(error, OwnSettingsError):
            return _same_for_all(transfers, error)
        return error


def _same_for_all(transfers: Sequence[Transfer], error: UploadError) -> Outcomes:
    return {transfer.upload_id: error for transfer in transfers}
