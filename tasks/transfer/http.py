"""HTTP for both services: plain sessions, raw requests, and what a response means."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.structures import CaseInsensitiveDict
from requests.utils import select_proxy
from urllib3.util import SKIP_HEADER

from tasks.transfer.addresses import QUERY
from tasks.transfer.errors import OwnFault, OwnSettingsError, ServiceUnavailableError
from tasks.transfer.own_faults import causes_of, own_fault

# urllib3 logs whole URLs, including their signatures: all at DEBUG, and some in warnings.
logging.getLogger("urllib3").setLevel(logging.ERROR)

#: (connect, read) in seconds. Connecting may take the first in all, and each read of TLS' handshake
#: once more. urllib3 sends the body under it too: each block must be sent within it. The second
#: limits a stall, not the whole transfer.
TIMEOUT_S = (25.0, 50.0)

#: Everything that an HTTP call may raise; requests does not translate some errors of urllib3.
HTTP_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)

#: The longest text of a service that goes into an error, a record or a log line.
MAX_CHARS = 500
MAX_STATUS_CHARS = 60

#: An error of S3 or GCS is a short XML document; the rest of a response is not read.
MAX_ERROR_BYTES = 10_000

OUTAGE_STATUS = {
    requests.codes.request_timeout,
    requests.codes.too_early,
    requests.codes.too_many_requests,
}
#: Codes of S3 and its kin that mean "later" whatever the status is: a transfer was cut short, the
#: store is busy, or serves no file at all, because of its bucket or account. They say nothing of
#: this file.
LATER_CODES = {
    *("RequestTimeout", "IncompleteBody", "ServiceUnavailable", "InternalError"),
    *("SlowDown", "Throttling", "ThrottlingException", "KMS.ThrottlingException", "Busy"),
    *("RequestLimitExceeded", "BandwidthLimitExceeded", "TooManyRequests"),
    *("OperationAborted", "ConditionalRequestConflict"),
    *("NoSuchBucket", "InvalidBucketState", "AccountProblem", "AllAccessDisabled"),
    *("NotSignedUp", "UserSuspended", "QuotaExceeded", "BucketQuotaExceeded"),
    *("XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "KMS.DisabledException"),
}


class PlainSession(requests.Session):
    """A session that adds nothing: no ~/.netrc, no cookies, and no redirects."""

    def __init__(self) -> None:
        super().__init__()
        # Credentials for the host in ~/.netrc would become a header that was not signed.
        self.auth = lambda request: request
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self._settings_by_host: dict[tuple[str, str], Any] = {}

    @property
    def hosts(self) -> list[tuple[str, str]]:
        """Scheme and host of each address that was called, the first one first."""
        return [*self._settings_by_host]

    def merge_environment_settings(self, url: Any, *args: Any, **options: Any) -> Any:
        """Read proxies and certificates from the environment once per host, not per request.

        requests reads every variable twice for each request: a fifth of the CPU time of a
        small PUT (measured 2026-11 with requests 2.34).

        Raises:
            requests.exceptions.InvalidSchema: the proxy is a SOCKS proxy.
        """
        host = urlsplit(url)[:2]
        if host not in self._settings_by_host:
            settings = super().merge_environment_settings(url, *args, **options)
            proxy = select_proxy(url, settings["proxies"]) or ""
            if proxy.lower().startswith("socks"):
                # With PySocks, requests would make connections that keep none of our deadlines.
                raise requests.exceptions.InvalidSchema("SOCKS is not supported")
            self._settings_by_host[host] = settings
        return dict(self._settings_by_host[host])

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None, so that requests does not parse a Location header.

        It would parse the header, and may fail on it, even when it must not follow.
        """


@contextmanager
def translated_errors(service: str, url: str = "") -> Iterator[None]:
    """Raise an UploadError in place of an error of the HTTP libraries.

    Their texts contain the whole URL, and so its signature; only the kind is kept. ``url`` is
    the one that is called, unless the connection stands already.

    Raises:
        OwnSettingsError: a setting or the network of this node is wrong.
        ServiceUnavailableError: anything else.
    """
    try:
        yield
    except HTTP_ERRORS as error:
        why = without_secrets(error)
        if url and (fault := own_fault(error)):
            raise _own(service, url, fault, why) from None
        raise ServiceUnavailableError(service, why) from None


def check_proxy(response: requests.Response, service: str, url: str) -> None:
    """Check that a response is not that of a proxy which asks for a login.

    Raises:
        OwnSettingsError: it is.
    """
    if response.status_code == requests.codes.proxy_authentication_required:
        response.close()
        raise _own(service, url, "proxy_login", status_of(response))


def _own(service: str, url: str, fault: OwnFault, why: str) -> OwnSettingsError:
    parts = urlsplit(url)
    host = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return OwnSettingsError(socket.gethostname(), service, host, fault, why)


def send_raw(
    session: requests.Session,
    method: str,
    url: str,
    headers: Mapping[str, str | bytes],
    body: Any = None,
    *,
    service: str,
    timeout_s: tuple[float, float] | None = None,
) -> requests.Response:
    """Send exactly this request, and return the response before its body is read.

    ``prepare()`` of requests would quote the URL again and add headers, which invalidates a
    signature. Without it a small PUT takes half the CPU time (0.55 to 0.28 ms, measured
    2026-11). No redirect is followed. ``service`` is the name for errors: ftrack or store.
    ``timeout_s`` is TIMEOUT_S by default. The hooks of the session are called with the response.

    Raises:
        ServiceUnavailableError, OwnSettingsError: there was no response.
    """
    request = requests.PreparedRequest()
    request.method, request.url, request.body = method, url, body
    request.hooks = session.hooks  # doctor reads the clock of ftrack by one
    # urllib3 would add these two by itself.
    default = {"User-Agent": SKIP_HEADER, "Accept-Encoding": SKIP_HEADER}
    all_headers: CaseInsensitiveDict[Any] = CaseInsensitiveDict(default)
    all_headers.update(headers)
    request.headers = all_headers
    options: dict[str, Any] = {"stream": True, "verify": None, "cert": None}
    with translated_errors(service, url):
        settings = session.merge_environment_settings(url, {}, **options)
        response = session.send(
            request, timeout=timeout_s or TIMEOUT_S, allow_redirects=False, **settings
        )
    check_proxy(response, service, url)
    return response


def is_outage(status: int) -> bool:
    """Return whether an HTTP status means "later" and not "no"."""
    return status >= requests.codes.internal_server_error or status in OUTAGE_STATUS


def is_portal(response: requests.Response, body: bytes) -> bool:
    """Return whether this is a redirect that S3 or GCS did not send, such as to a login.

    S3's own, to another region, names the bucket's region or has an error code.
    """
    status = response.status_code
    is_redirect = requests.codes.multiple_choices <= status < requests.codes.bad_request
    is_own = error_code(body) or "x-amz-bucket-region" in response.headers
    return is_redirect and not is_own


def retry_after_s(response: requests.Response) -> float | None:
    """Return the seconds of Retry-After: a number, or an HTTP date (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)


def body_of(response: requests.Response, max_bytes: int) -> bytes:
    """Read at most ``max_bytes`` of a streamed response, then release its connection.

    Raises:
        requests.RequestException: the response is not whole, or no HTTP.
    """
    body = bytearray()
    with response:
        try:
            for block in response.iter_content(max_bytes):
                body += block
                if len(body) >= max_bytes:
                    break
        except ValueError as error:  # a chunk of a negative size; urllib3 passes it on
            raise requests.exceptions.ChunkedEncodingError from error
    return bytes(body[:max_bytes])


def error_code(body: bytes) -> str:
    """Return the error code in the XML of S3 or GCS, such as AccessDenied; empty without one."""
    match = re.search(rb"<Code>([A-Za-z0-9.]{1,60})</Code>", body)
    return match[1].decode() if match else ""


def one_line(text: str, max_chars: int = MAX_CHARS) -> str:
    """Return the text of a service as one short line of printable characters.

    A service may quote a presigned URL, as the errors of boto3 do. Its query is left out.
    """
    shown = QUERY.sub("***", text[: 4 * max_chars])
    printable = (char if char.isprintable() else " " for char in shown)
    return " ".join("".join(printable).split())[:max_chars]


def status_of(response: requests.Response) -> str:
    """Return the status with its reason, such as "503 Service Unavailable"."""
    return one_line(f"{response.status_code} {response.reason or ''}", MAX_STATUS_CHARS)


def without_secrets(error: Exception) -> str:
    """Return the kind of an HTTP error without its text, which contains the whole URL."""
    causes = causes_of(error)
    kind, cause = type(error).__name__, type(causes[-1]).__name__
    if isinstance(causes[-1], OSError) and not isinstance(causes[-1], requests.RequestException):
        # The operating system's own words, such as "Connection refused".
        cause = causes[-1].strerror or cause
    return kind if kind == cause else f"{kind}, {cause}"
