"""Doctor's checks of ftrack and, with ``--put``, of its media store."""

from __future__ import annotations

import base64
import hashlib
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from tasks.config.settings import FtrackSettings, Settings
from tasks.transfer.errors import (
    CredentialsRefusedError,
    DigestMismatchError,
    ServiceUnavailableError,
    UploadError,
    UrlRefusedError,
)
from tasks.transfer.ftrack import FtrackClient, FtrackRefusal
from tasks.transfer.models import SERVER_LOCATION_ID, FileIdentity, Transfer
from tasks.transfer.put import FileBody, send, store_session
from tasks.transfer.signing import sign
from tasks.transfer.targets import Target, derived_id
from workers.doctor.finding import Finding, skew

#: The bytes that ``--put`` sends.
CONTENT = b"farmhaul doctor --put\n"
#: The system's error for a host name that has no address (getaddrinfo) matches this.
NO_NAME = re.compile(r"\b(host)?name\b", re.IGNORECASE)


def ftrack(settings: Settings, *, put: bool) -> Iterator[Finding]:
    """Query ftrack's location and compare its clock; with ``put``, send the store a few bytes."""
    if settings.ftrack is None:
        yield Finding("ok", "ftrack", "this node has no credentials; only workers need them")
        if put:
            step = "run doctor --put on a worker's node, with the worker's environment"
            yield Finding("fault", "store", "no PUT can be signed without credentials", step)
        return
    server, dates = settings.ftrack, list[str]()
    client = FtrackClient(server.server_url, server.api_user, server.api_key)

    def note_date(response: Any, **_: Any) -> None:
        dates.extend([response.headers["Date"]] if "Date" in response.headers else [])

    client.session.hooks["response"].append(note_date)
    try:
        yield from _location(server, client)
        if put:
            yield from _put(server, client)
    except CredentialsRefusedError:
        says = f"{server.server_url} refuses the API key of {server.api_user}"
        step = "correct FTRACK_API_USER and FTRACK_API_KEY here and on workers; restart the workers"
        yield Finding("fault", "ftrack", says, step)
    except (UploadError, FtrackRefusal) as error:
        step = f"run curl -I {server.server_url} on this node; correct FTRACK_SERVER"
        yield Finding("fault", "ftrack", _first_words(error), step)
    for date in dates[:1]:
        with suppress(ValueError):  # a proxy may send anything as its Date
            yield from skew("ftrack", parsedate_to_datetime(date).timestamp(), settings)


def _location(server: FtrackSettings, client: FtrackClient) -> Iterator[Finding]:
    expression = f'select id from Location where id is "{SERVER_LOCATION_ID}"'  # noqa: S608 not SQL
    [result] = client.call([{"action": "query", "expression": expression}])
    if not result.get("data"):
        says = "ftrack has no location ftrack.server, or the API user may not see it"
        step = f"ask ftrack's administrator to let the API user {server.api_user} read locations"
        yield Finding("fault", "ftrack", says, step)
    else:
        says = f"{server.server_url} accepts the credentials and has ftrack.server"
        yield Finding("ok", "ftrack", says)


def _put(server: FtrackSettings, client: FtrackClient) -> Iterator[Finding]:
    """Send a few bytes as an upload does, without a component in ftrack.

    The id is always the same, and no component has it: one object of 22 bytes remains.
    """
    digest = hashlib.md5(CONTENT, usedforsecurity=False).digest()
    transfer = Transfer(
        "doctor",
        Target(derived_id("doctor", server.server_url)),
        "farmhaul-doctor.txt",
        identity=FileIdentity(len(CONTENT), 0, 0, 0),
        checksum=base64.b64encode(digest).decode(),
    )
    signed = sign(client, [transfer], check=False)[transfer.upload_id]
    if isinstance(signed, UploadError):
        step = f"ask ftrack's administrator to let the API user {server.api_user} upload"
        yield Finding("fault", "store", f"no PUT was signed: {_first_words(signed)}", step)
        return
    host = urlsplit(signed.signed.url if signed.signed else "").hostname or ""
    with tempfile.TemporaryFile() as file, store_session(connections=1) as session:
        file.write(CONTENT)
        file.flush()
        body = FileBody(file, transfer.path, len(CONTENT), lambda _sent_bytes: None)
        began = time.perf_counter()
        try:
            send(signed, body, session)
        except UploadError as error:
            yield Finding("fault", "store", *_trouble(error, host))
            return
    took_ms = (time.perf_counter() - began) * 1000
    says = f"{host} accepted a signed PUT of {len(CONTENT)} bytes in {took_ms:.0f} ms"
    yield Finding("ok", "store", says)


def _trouble(error: UploadError, host: str) -> tuple[str, str]:
    """Return what went wrong at the store, and what to do; neither contains the URL's query."""
    says = f"{host}: {_first_words(error)}"
    if isinstance(error, UrlRefusedError):
        return (
            says,
            f"compare the clocks; check that no proxy changes requests to {host} (NO_PROXY)",
        )
    if isinstance(error, DigestMismatchError):
        return says, "bytes change in transit: test this node's memory, and look for a proxy"
    if not isinstance(error, ServiceUnavailableError):
        return says, "ask the operators of the store why it refuses this PUT"
    says = f"{host}: {error.why}"
    if "SSL" in error.why:
        return (
            says,
            "set REQUESTS_CA_BUNDLE to the authority of its certificate, or correct that file",
        )
    if NO_NAME.search(error.why):
        return says, f"run getent hosts {host} on this node; fix its DNS"
    return says, f"run curl -I https://{host} on this node; check firewalls, proxies, and the store"


def _first_words(error: Exception) -> str:
    return str(error).partition("; ")[0]
