"""What the two HTTP conversations, with ftrack and with the store, have in common."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

# urllib3 writes whole URLs, signatures and all, into its log: each at DEBUG, and some in warnings.
logging.getLogger("urllib3").setLevel(logging.ERROR)

#: (connect, read) in seconds. urllib3 sends the body under the connect timeout: each
#: block must get away within it. Both bound a stall, not the whole transfer.
TIMEOUT_S = (30.0, 60.0)

#: All that a conversation may raise; some errors of urllib3 pass through requests untranslated.
HTTP_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)

#: The longest text of another's that goes into an error, a record and a log line.
MAX_CHARS = 500

OUTAGE_STATUS = {
    requests.codes.request_timeout,
    requests.codes.too_early,
    requests.codes.too_many_requests,
}


class PlainSession(requests.Session):
    """Sends what it is told to: nothing of ~/.netrc, no cookies, nothing after a redirect."""

    def __init__(self) -> None:
        super().__init__()
        # Credentials for the host in ~/.netrc would become a header that was not signed.
        self.auth = lambda request: request
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self._of_host: dict[tuple[str, str], Any] = {}

    def merge_environment_settings(self, url: Any, *args: Any, **options: Any) -> Any:
        """Read proxies and certificates from the environment once a host, not at each request.

        requests goes through all variables twice each time: a fifth of the CPU time of a
        small PUT (measured 2026-11 with requests 2.34).
        """
        host = urlsplit(url)[:2]
        if host not in self._of_host:
            self._of_host[host] = super().merge_environment_settings(url, *args, **options)
        return dict(self._of_host[host])

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Find none: requests reads a Location, and may stumble over it, also when told not to."""


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
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)


def body_of(answer: requests.Response, most_bytes: int) -> bytes:
    """Read a streamed answer to its end, or ``most_bytes`` of it, and let go of it."""
    body = b""
    with answer:
        for block in answer.iter_content(most_bytes):
            body += block
            if len(body) >= most_bytes:
                break
    return body[:most_bytes]


def words(text: str, most: int = MAX_CHARS) -> str:
    """Make one line of what another said, short enough and fit to be written anywhere."""
    printable = (one if one.isprintable() else " " for one in text[: 4 * most])
    return " ".join("".join(printable).split())[:most]


def status_of(answer: requests.Response) -> str:
    """Name the status of an answer, as in "503 Service Unavailable"."""
    return words(f"{answer.status_code} {answer.reason or ''}", 60)


def without_secrets(error: Exception) -> str:
    """Name an error of requests or urllib3 without its text, which holds the whole URL."""
    causes: list[BaseException] = [error]
    while (deeper := _cause_of(causes[-1])) is not None and deeper not in causes:
        causes.append(deeper)
    kind, cause = type(error).__name__, type(causes[-1]).__name__
    if isinstance(causes[-1], OSError) and not isinstance(causes[-1], requests.RequestException):
        # What the system says, such as "Connection refused".
        cause = causes[-1].strerror or cause
    return kind if kind == cause else f"{kind}, {cause}"


def _cause_of(error: BaseException) -> BaseException | None:
    named = (getattr(error, "reason", None), *error.args, error.__cause__)
    return next((one for one in named if isinstance(one, BaseException)), None)
