"""The signed GET of a component: ftrack returns a URL, and the store answers it."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

import requests

from tasks.transfer.addresses import may_be_called
from tasks.transfer.errors import (
    FatalError,
    InterceptedError,
    ServiceUnavailableError,
    UnexpectedAnswerError,
    UrlRefusedError,
)
from tasks.transfer.exchange import EXCHANGE_S, Exchange
from tasks.transfer.http import (
    LATER_CODES,
    MAX_ERROR_BYTES,
    body_of,
    error_code,
    is_outage,
    is_portal,
    retry_after_s,
    send_raw,
    status_of,
    translated_errors,
)
from tasks.transfer.models import MAX_SIZE_BYTES, Transfer

#: S3 and GCS return the hex MD5 of an object that came in one PUT. After N parts, S3 returns the
#: MD5 of their MD5s, and -N. A proxy that could compress may weaken the ETag, or add to it.
MD5_ETAG = re.compile(
    r'(?:W/)?"([0-9a-fA-F]{32})(?:-([1-9][0-9]{0,4}))?(?:[-;:]{1,2}(?:gzip|br|deflate|zstd))?"'
)

#: The size of an object, and where the range begins. Longer numbers are none: of those that have
#: more than 4300 digits, Python makes an error of its own.
LENGTH = re.compile(r"(?P<size>[0-9]{1,19})")
SPAN = re.compile(r"bytes (?:(?P<start>[0-9]{1,19})-[0-9]{1,19}|\*)/(?P<size>[0-9]{1,19})")

#: Bytes as they are stored: decoded ones would have another size and MD5.
AS_STORED = {"Accept-Encoding": "identity"}


class ObjectGoneError(FatalError):
    """The store does not have the object."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The object that a response of the store describes.

    ``start`` is the offset of the first byte in the response, ``size_bytes`` the size of the
    whole object. ``etag`` includes its quotes. ``md5_hex`` is empty if the ETag is not an MD5. If
    the object came in ``parts``, ``joined_md5_hex`` is the MD5 of their MD5s.
    """

    start: int
    size_bytes: int
    etag: str
    md5_hex: str
    parts: int = 0
    joined_md5_hex: str = ""


def signed_url(
    server_url: str, api_user: str, api_key: str, component_id: str, session: requests.Session
) -> str:
    """Ask ftrack for the URL of a component's bytes. The URL is a secret.

    ``/component/get`` takes the API key in its query (ftrack-python, ``accessor/server.py``).
    Neither that URL nor an error of requests may be shown.

    Raises:
        ServiceUnavailableError, UnexpectedAnswerError: another attempt may succeed.
        FatalError: ftrack refused.
    """
    query = urlencode({"id": component_id, "username": api_user, "apiKey": api_key})
    url = f"{server_url}/component/get?{query}"
    with (
        Exchange(EXCHANGE_S),
        send_raw(session, "GET", url, AS_STORED, service="ftrack") as response,
    ):
        status, location = response.status_code, response.headers.get("Location", "")
        with translated_errors("ftrack"):
            body_of(response, MAX_ERROR_BYTES)  # what is not read to its end costs the connection
    if is_outage(status):
        raise ServiceUnavailableError("ftrack", status_of(response), retry_after_s(response))
    if requests.codes.bad_request <= status:
        raise FatalError(
            f"ftrack refuses to return the file of component {component_id} ({status}): "
            "is it in ftrack.server, and may this API user see it?"
        )
    if not requests.codes.multiple_choices <= status or not may_be_called(location, server_url):
        why = f"HTTP {status} without an https URL of a store"
        raise UnexpectedAnswerError("ftrack", f"the GET of component {component_id}", why)
    return location


def get_object(
    component_id: str, url: str, session: requests.Session, headers: dict[str, str]
) -> requests.Response:
    """GET an object, or the range in ``headers``, from the store.

    The status of the response is 200, 206 or 416 (range not satisfiable).

    Raises:
        UrlRefusedError, ServiceUnavailableError, InterceptedError: another attempt may succeed.
        ObjectGoneError: the store does not have it.
        FatalError: the store refused.
    """
    response = send_raw(session, "GET", url, AS_STORED | headers, service="store")
    status = response.status_code
    if status in {200, 206, requests.codes.requested_range_not_satisfiable}:
        return response
    with translated_errors("store"):
        body = body_of(response, MAX_ERROR_BYTES)
    code = error_code(body) or "no reason given"
    if status in {requests.codes.unauthorized, requests.codes.forbidden} or "Expired" in code:
        raise UrlRefusedError(component_id, status, code)
    if code in LATER_CODES or is_outage(status):
        raise ServiceUnavailableError("store", f"{status} {code}", retry_after_s(response))
    is_foreign = requests.codes.bad_request <= status and not error_code(body)
    if is_foreign or is_portal(response, body):
        # A proxy's 404 does not say that the store has lost the file.
        raise InterceptedError("store", f"{status_of(response)}, not the store's own")
    kind = ObjectGoneError if status == requests.codes.not_found else FatalError
    raise kind(
        f"the store refuses to return the file of component {component_id} ({status} {code}); "
        "ask the administrators of the store, or upload it again"
    )


def has_bytes(transfer: Transfer, sign: Callable[[str], str], session: requests.Session) -> bool:
    """Return whether the store has a file that was sent: by its size, and its MD5 if it is known.

    ``sign`` returns the URL of a component.

    Raises:
        RetryableError: ftrack or the store did not answer as they should; see ``get_object``.
        FatalError: one of them refused.
    """
    component_id = transfer.component_id
    url = sign(component_id)
    try:
        # The URL is signed for GET, so a HEAD would be refused.
        with get_object(component_id, url, session, {"Range": "bytes=0-0"}) as response:
            stored = stored_in(component_id, response)
    except ObjectGoneError:
        return False
    if stored.size_bytes != transfer.size_bytes:
        return False
    if not stored.md5_hex or transfer.checksum is None:
        return True
    return b64decode(transfer.checksum).hex() == stored.md5_hex


def stored_in(component_id: str, response: requests.Response) -> Stored:
    """Return the object that a response to ``get_object`` describes.

    Raises:
        UnexpectedAnswerError: the response does not contain the size of the object.
        InterceptedError: something on the way answered in place of the store.
    """
    headers = response.headers
    etag = headers.get("ETag", "")
    if not etag and headers.get("Content-Type", "").lower().startswith("text/html"):
        # As in a PUT: a proxy's page would be written under the name of the file.
        raise InterceptedError("store", f"{status_of(response)} with a page, not the store's own")
    # An object that is encrypted with a key of KMS or of the customer has an ETag of this form
    # that is not its MD5 (Amazon S3 API reference, "Object"). With SSE-S3, the default, it is.
    encryption = headers.get("x-amz-server-side-encryption", "AES256")
    customer = "x-amz-server-side-encryption-customer-algorithm" in headers
    match = MD5_ETAG.fullmatch(etag) if encryption == "AES256" and not customer else None
    found_hex = match[1].lower() if match else ""
    parts = int(match[2] or 0) if match else 0
    md5s = ("", parts, found_hex) if parts else (found_hex,)
    span = SPAN.fullmatch(headers.get("Content-Range", ""))
    # In chunks, the length says nothing (RFC 9112, 6.3).
    is_chunked = "Transfer-Encoding" in headers
    length = None if is_chunked else LENGTH.fullmatch(headers.get("Content-Length", ""))
    is_whole = response.status_code == requests.codes.ok
    found = length if is_whole else span
    if found and int(found["size"]) <= MAX_SIZE_BYTES:
        start = 0 if is_whole else int(found["start"] or 0)
        return Stored(start, int(found["size"]), etag, *md5s)
    why = f"{status_of(response)} without the size of the file"
    raise UnexpectedAnswerError("the store", f"the GET of component {component_id}", why)
