"""The one place that decides how errors are retried: which one, how often, after which delay.

An upload that must be retried goes back to the record and is claimed again. An outage therefore
leaves no tasks with a countdown in the memory of workers, and a gate (a circuit breaker) for each
service holds back new claims. For downloads, Celery or the command waits.

Three rules are elsewhere, because they need what only those places know. ``tasks/parts.py`` sends
a run again at once if some of its parts were stored. ``deliver.lua`` lets an upload wait 2 s for
an older upload of its component. ``MAX_DELIVERIES`` in ``tasks/records/record.py`` ends uploads
that kill their workers.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tasks.config.remedies import explained
from tasks.records.delivery import on_node
from tasks.transfer import errors
from tasks.transfer.ftrack import API_CALL

DAY_S = 86400.0

#: Errors for which the gate of their service closes once several uploads meet them.
CLOSE_GATES = (
    errors.ServiceUnavailableError,
    errors.InterceptedError,
    errors.CredentialsRefusedError,
)


@dataclass(frozen=True, slots=True)
class Policy:
    """How a retryable error is retried: exponential backoff with full jitter.

    ``max_tries`` counts errors of this kind: the one with this number is final. So is any error
    later than ``patience_s`` after the first one since the last success. The delay before a retry
    is random, below ``delay_s`` doubled with each retry, and below ``cap_s``; it is never shorter
    than ``at_least_s``.
    """

    max_tries: float
    patience_s: float
    delay_s: float
    cap_s: float
    at_least_s: float = 0.0


#: Uploads wait out an outage for a day; errors that look like a fault of farmhaul fail soon. What
#: was given back is no error: it is pending at once (``tasks/stage/outcomes.py``).
POLICIES: dict[type[errors.RetryableError], Policy] = {
    errors.ServiceUnavailableError: Policy(math.inf, DAY_S, 2, 300),
    # Waits until somebody fixes the setting. It closes no gate: ftrack and the store are up.
    errors.OwnSettingsError: Policy(math.inf, 14 * DAY_S, 10, 60, at_least_s=5),
    # No outage: while all calls are refused, the gate saves the tries of most uploads.
    errors.InterceptedError: Policy(12, DAY_S, 2, 300),
    # Waits until somebody fixes the key; the gate lets one batch try each minute.
    errors.CredentialsRefusedError: Policy(math.inf, 14 * DAY_S, 60, 60, at_least_s=60),
    # An NFS client may keep "no such file" for 60 s (acdirmax, nfs(5)): a dozen tries take five
    # minutes on average, and less than ten.
    errors.FileNotReadyError: Policy(12, DAY_S, 2, 90, at_least_s=1),
    # Waits until somebody repairs the mount; each try leaves a thread behind.
    errors.FileHungError: Policy(math.inf, DAY_S, 60, 900, at_least_s=30),
    # Written again, and seen by NFS as late as a new file.
    errors.FileShrunkError: Policy(12, DAY_S, 2, 90, at_least_s=1),
    errors.FileChangedError: Policy(5, DAY_S, 4, 60, at_least_s=1),
    # The store refuses the URLs of all uploads while a bucket's policy, the credentials of whoever
    # signs, or a clock is wrong.
    errors.UrlRefusedError: Policy(math.inf, DAY_S, 1, 300),
    errors.DigestMismatchError: Policy(3, DAY_S, 1, 30),
    errors.MultipartGoneError: Policy(3, DAY_S, 1, 30),
    # join_parts decides how long: then the parts are sent again.
    errors.JoinUnderWayError: Policy(math.inf, DAY_S, 5, 30, at_least_s=2),
    # While workers are upgraded, an old one may send parts whose ETags it does not sign.
    errors.PartsMissingError: Policy(10, DAY_S, 1, 30),
    errors.LeaseLostError: Policy(math.inf, DAY_S, 1, 30),
    errors.UnexpectedAnswerError: Policy(5, DAY_S, 2, 60),
}

#: How often an upload may fail alone: while its service answers others, before and after it on the
#: same node. A dozen tries take a quarter of an hour on average.
MAX_ALONE = 12
#: How often the store may refuse the URL of one upload alone.
MAX_URLS_REFUSED = 5

#: The stages for which other code stands: it may be broken on one node alone.
CODE_OF = {"put_parts": "put_file", "resolved": "get_put_metadata"}

#: The fields that the record changes after an error, before the work is done again.
FIELDS_AFTER: dict[type[errors.UploadError], dict[str, str | int]] = {
    errors.MultipartGoneError: {"stored": ""},
    errors.PartsMissingError: {"stored": ""},
    # In a batch of its own, so that no other upload waits for it.
    errors.FileHungError: {"exclusive": 1},
}

#: A download by a task: 12 retries take a quarter of an hour on average, half an hour at most.
DOWNLOAD_TASK = Policy(13, math.inf, 2, 300)
#: A download that this node cannot write, for another node to take: about a minute, two at most.
DOWNLOAD_ELSEWHERE = Policy(8, math.inf, 2, 30)
#: Another process is already fetching the file: checked again every 30 s, for a day.
DOWNLOAD_BUSY = Policy(2881, math.inf, 30, 30, at_least_s=30)
#: A download by the command, while someone waits: about 2 minutes at most.
DOWNLOAD_COMMAND_OUTAGE = Policy(9, math.inf, 1, 30)
#: The same, for errors that look like a fault of the store or of farmhaul.
DOWNLOAD_COMMAND_OTHER = Policy(3, math.inf, 1, 30)

#: The longest delay before each upload of a call that failed for several is tried alone.
SPLIT_S = 2.0

#: A service may ask for a longer delay than ours (Retry-After); it is granted at most this long.
MAX_RETRY_AFTER_S = 900.0


def full_jitter(retries: int, policy: Policy, share: float) -> float:
    """Return the delay in seconds before the next retry.

    ``retries`` is the number of retries so far, ``share`` a random number from 0 to 1. With full
    jitter, hundreds of uploads that failed together do not come back together.
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)
    """
    delay_s = share * min(policy.cap_s, policy.delay_s * 2.0 ** min(retries, 30))
    return max(delay_s, policy.at_least_s)


def own_fault(error: errors.UploadError) -> str:
    """Return what may be wrong with the node alone; empty if another would meet the same error."""
    if _may_be_its_mount(error):
        return "files"
    if is_refused_here(error):
        return "locations" if isinstance(error, errors.TargetRefusedError) else "files"
    if isinstance(error, errors.OwnSettingsError | errors.InterceptedError):
        return error.service
    if _may_be_on_its_way(error):
        return "store"
    if isinstance(error, errors.UnexpectedAnswerError) and error.service == errors.OWN_CODE:
        return CODE_OF.get(error.what, error.what)
    return "ftrack" if _may_be_its_user(error) or _may_be_a_portal(error) else ""


def _may_be_its_mount(error: errors.UploadError) -> bool:
    """Return whether another node may see another file, or have it sooner."""
    if isinstance(error, errors.FileChangedError):
        return error.is_here
    seen_here = errors.FileNotReadyError | errors.FileHungError | errors.FileShrunkError
    return isinstance(error, seen_here)


def _may_be_its_user(error: errors.UploadError) -> bool:
    """Return whether ftrack may accept the user of another node."""
    if isinstance(error, errors.RequestRefusedError | errors.TargetRefusedError):
        return error.is_of_this_user
    return isinstance(error, errors.CredentialsRefusedError)


def _may_be_a_portal(error: errors.UploadError) -> bool:
    """Return whether the network of this node may have answered in ftrack's place, with JSON."""
    return isinstance(error, errors.UnexpectedAnswerError) and error.what == API_CALL


def _may_be_on_its_way(error: errors.UploadError) -> bool:
    """Return whether another node may reach the store by another way."""
    if isinstance(error, errors.UrlRefusedError | errors.StoreRefusedError):
        return error.by == "proxy"
    if isinstance(error, errors.DigestMismatchError):
        return True  # or its memory or a proxy changes the bytes
    return isinstance(error, errors.UnexpectedAnswerError) and error.service == "the store"


def is_refused_here(error: object) -> bool:
    """Return whether an error is final on this node, because of its own settings."""
    if isinstance(error, errors.TargetRefusedError):
        return error.taken == "folder"
    faults = {"outside_roots", "outdated"}
    return isinstance(error, errors.FileRefusedError) and error.fault in faults


def retry_plan(
    error: errors.RetryableError, failed_together: Sequence[str] = (), node: str = ""
) -> dict[str, Any]:
    """Return the arguments with which ``settle.lua`` lets the upload wait, or fail.

    ``failed_together`` are the uploads for which one call failed, if there were several, and
    ``node`` is the worker that has met the error. The script computes the delay as ``full_jitter``
    does: only Redis knows the number of retries.
    """
    policy = POLICIES[type(error)]
    # A URL that another node has sealed with its own key says nothing of the upload.
    not_ours = isinstance(error, errors.UrlRefusedError) and not error.status
    asked_s = min(getattr(error, "retry_after_s", None) or 0.0, MAX_RETRY_AFTER_S)
    is_theirs = len(failed_together) > 1 and not isinstance(error, errors.OwnSettingsError)
    shared: dict[str, Any] = {}
    if is_theirs:
        split_s = max(SPLIT_S * random.random(), asked_s)
        shared = {"strike": min(failed_together), "split_s": split_s}
    # JSON has no infinity.
    finite = {name: min(value, 1e15) for name, value in asdict(policy).items()}
    own = own_fault(error)
    return (
        finite
        | shared
        | {
            "kind": type(error).__name__,
            "counter": "no URL" if not_ours else type(error).__name__,
            "error": on_node(error, node) if own and node else explained(error),
            "own": own,
            "at_least_s": max(policy.at_least_s, asked_s),
            "jitter": random.random(),
            "is_running": error.is_running,
            "gate": _gate_of(error),
            "alone": _fails_alone(error),
        }
    )


def _gate_of(error: errors.RetryableError) -> str:
    if isinstance(error, errors.UrlRefusedError):
        return "store" if error.status else ""
    return error.service if isinstance(error, CLOSE_GATES) else ""


def _fails_alone(error: errors.RetryableError) -> dict[str, Any]:
    """Return how the upload fails in the end if its service answers all others."""
    if isinstance(error, errors.UrlRefusedError):
        kind = type(error).__name__
        return {"error": explained(error), "error_kind": kind, "max_tries": MAX_URLS_REFUSED}
    if not isinstance(error, CLOSE_GATES):
        return {}
    service = "ftrack" if error.service == "credentials" else error.service
    final = errors.FailsAloneError(service, error.why, MAX_ALONE)
    return {
        "error": explained(final),
        "error_kind": type(final).__name__,
        "max_tries": MAX_ALONE,
    }
