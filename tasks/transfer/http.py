"""What the two HTTP conversations, with ftrack and with the store, have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests

#: (connect, read) in seconds. urllib3 sends the body under the connect timeout: each
#: block must get away within it. Both bound a stall, not the whole transfer.
TIMEOUT_S = (30.0, 60.0)

OUTAGE_STATUS = {
    requests.codes.request_timeout,
    requests.codes.too_early,
    requests.codes.too_many_requests,
}


def is_outage(status: int) -> bool:
    """Tell whether a status says "later" and not "no"."""
    return status >= requests.codes.internal_server_error or status in OUTAGE_STATUS


def retry_after_s(answer: requests.Response) -> float | None:
    """Read Retry-After: seconds, or an HTTP date (RFC 9110, 10.2.3)."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)


def without_secrets(error: Exception) -> str:
    """Name an error of requests or urllib3 without its text, which holds the whole URL."""
    inner: BaseException = error
    while True:
        deeper = getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)
        deeper = deeper if isinstance(deeper, BaseException) else inner.__cause__
        if not isinstance(deeper, BaseException) or deeper is inner:
            break
        inner = deeper
    if isinstance(inner, OSError) and inner.strerror:
        return f"{type(error).__name__}, {inner.strerror}"
    kind, cause = type(error).__name__, type(inner).__name__
    return kind if kind == cause else f"{kind}, {cause}"
