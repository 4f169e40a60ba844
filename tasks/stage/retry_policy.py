"""The one place that decides on retries: which error, how often, how long, what waits with it.

What is tried again goes back to the record and is claimed anew, so an outage leaves no tasks
with a countdown in the memory of workers; and a gate for each service keeps new claims back.
"""

from __future__ import annotations

import math
import random
from dataclasses import asdict, dataclass
from typing import Any

from tasks.transfer import errors

DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How a retryable error is tried again: full jitter below a doubling delay.

    The upload ends as failed at ``max_tries``, or ``patience_s`` after the first error
    that no success followed.
    """

    max_tries: float
    patience_s: float
    delay_s: float
    cap_s: float
    at_least_s: float = 0.0


#: An outage is waited out for a day; what looks like a fault of ours is given up soon.
POLICIES: dict[type[errors.RetryableError], Policy] = {
    errors.ServiceUnavailableError: Policy(math.inf, DAY_S, 2, 300),
    # Waits until somebody mends the key; the gate lets one batch try each minute.
    errors.CredentialsRefusedError: Policy(math.inf, 14 * DAY_S, 60, 60, at_least_s=60),
    # An NFS client may keep "no such file" for 60 s (acdirmax, nfs(5)): a dozen tries
    # take some 8 minutes.
    errors.FileNotReadyError: Policy(12, DAY_S, 2, 90, at_least_s=1),
    errors.FileChangedError: Policy(5, DAY_S, 4, 60, at_least_s=1),
    errors.UrlRefusedError: Policy(5, DAY_S, 1, 30),
    errors.DigestMismatchError: Policy(3, DAY_S, 1, 30),
    errors.MultipartGoneError: Policy(3, DAY_S, 1, 30),
    errors.LeaseLostError: Policy(math.inf, DAY_S, 1, 30),
    errors.UnexpectedAnswerError: Policy(5, DAY_S, 2, 60),
}

#: A service may ask for more patience than we have (Retry-After); so much it is granted.
MAX_RETRY_AFTER_S = 900.0


def wait_for(error: errors.RetryableError) -> dict[str, Any]:
    """Turn an error into what ``settle.lua`` needs to let the upload wait, or fail."""
    policy = POLICIES[type(error)]
    asked_s = min(getattr(error, "retry_after_s", None) or 0.0, MAX_RETRY_AFTER_S)
    finite = {name: min(value, 1e15) for name, value in asdict(policy).items()}
    return finite | {
        "kind": type(error).__name__,
        "error": str(error),
        "at_least_s": max(policy.at_least_s, asked_s),
        # Full jitter: hundreds of uploads that failed together do not come back together.
        "jitter": random.random(),
        "gate": _gate_of(error),
    }


def _gate_of(error: errors.RetryableError) -> str:
    if isinstance(error, errors.ServiceUnavailableError | errors.CredentialsRefusedError):
        return error.service
    return ""
