"""Where the bytes of a component come from: ftrack gives a URL, the store answers it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import requests
from requests.structures import CaseInsensitiveDict
from urllib3.util import SKIP_HEADER

from tasks.transfer.errors import (
    FatalError,
    ServiceUnavailableError,
    UnexpectedAnswerError,
    UrlRefusedError,
)
from tasks.transfer.http import (
    HTTP_ERRORS,
    TIMEOUT_S,
    body_of,
    is_outage,
    retry_after_s,
    status_of,
    without_secrets,
)
from tasks.transfer.signing import URL

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
#: S3 and GCS give the hex MD5 of what came in one PUT; ``…-N`` is no digest of the whole.
MD5_ETAG = re.compile(r'"([0-9a-fA-F]{32})"')


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store says of its object; ``md5`` is empty where the ETag is none."""

    start: int
    size_bytes: int
    etag: str
    md5: str


def signed_url(
    server_url: str, api_user: str, api_key: str, component_id: str, session: requests.Session
) -> str:
    """Ask ftrack where the store has a component's bytes; the URL is a secret.

    ``/component/get`` takes the key in its query (ftrack-python, ``accessor/server.py``), so
    neither this URL nor an error of requests may be shown.
    """
    query = urlencode({"id": component_id, "username": api_user, "apiKey": api_key})
    answer = _send(f"{server_url}/component/get?{query}", session, "ftrack", {})
    with answer:
        status, location = answer.status_code, answer.headers.get("Location", "")
    if is_outage(status):
        raise ServiceUnavailableError("ftrack", status_of(answer), retry_after_s(answer))
    if requests.codes.bad_request <= status:
        raise FatalError(
            f"ftrack does not give out component {component_id} ({status}): "
            "is it in ftrack.server, and may this API user see it?"
        )
    if not requests.codes.multiple_choices <= status or not _is_safe(location):
        why = f"HTTP {status} without an https URL of a store"
        raise UnexpectedAnswerError("ftrack", f"the GET of component {component_id}", why)
    return location


def _is_safe(url: str) -> bool:
    try:
        return URL.fullmatch(url) is not None and (
            url.startswith("https://") or urlsplit(url).hostname in LOOPBACK
        )
    except ValueError:
        return False


def ask(
    component_id: str, url: str, session: requests.Session, headers: dict[str, str]
) -> requests.Response:
    """GET from the store; the answer is one that holds (a range of) the file, or a 416."""
    answer = _send(url, session, "store", headers)
    status = answer.status_code
    if status in {200, 206, requests.codes.requested_range_not_satisfiable}:
        return answer
    body = body_of(answer, 10_000)
    match = re.search(rb"<Code>([A-Za-z0-9]{1,60})</Code>", body)
    code = match[1].decode() if match else "no reason given"
    if status in {requests.codes.unauthorized, requests.codes.forbidden} or "Expired" in code:
        raise UrlRefusedError(component_id, status, code)
    if is_outage(status):
        raise ServiceUnavailableError("store", f"{status} {code}", retry_after_s(answer))
    raise FatalError(
        f"the store does not give out the file of component {component_id} ({status} {code}); "
        "ask those who run the store, or upload it again"
    )


def stored_in(component_id: str, answer: requests.Response) -> Stored:
    headers = answer.headers
    etag = headers.get("ETag", "")
    # Encrypted with a key of KMS or of the customer, an ETag of this form is no MD5 (Amazon S3
    # API reference, "Object"); with SSE-S3, the default, it is one.
    encryption = headers.get("x-amz-server-side-encryption", "AES256")
    customer = "x-amz-server-side-encryption-customer-algorithm" in headers
    match = MD5_ETAG.fullmatch(etag) if encryption == "AES256" and not customer else None
    md5 = match[1].lower() if match else ""
    span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", headers.get("Content-Range", ""))
    if answer.status_code != requests.codes.ok and span:
        return Stored(int(span[1] or 0), int(span[2]), etag, md5)
    length = headers.get("Content-Length", "")
    if answer.status_code == requests.codes.ok and length.isdecimal():
        return Stored(0, int(length), etag, md5)
    why = f"{status_of(answer)}, and it does not say of how many bytes"
    raise UnexpectedAnswerError("the store", f"the GET of component {component_id}", why)


def _send(
    url: str, session: requests.Session, service: str, headers: dict[str, str]
) -> requests.Response:
    """GET exactly this URL, with nothing else of ours; follows no redirect."""
    request = requests.PreparedRequest()
    request.method, request.url = "GET", url
    request.hooks = {"response": []}
    # Bytes as they are stored: what is decoded on the way has another size and MD5.
    fixed = {"User-Agent": SKIP_HEADER, "Accept-Encoding": "identity"}
    request.headers = CaseInsensitiveDict({**fixed, **headers})
    settings = session.merge_environment_settings(url, {}, stream=True, verify=None, cert=None)
    try:
        return session.send(request, timeout=TIMEOUT_S, allow_redirects=False, **settings)
    except HTTP_ERRORS as error:
        raise ServiceUnavailableError(service, without_secrets(error)) from None
