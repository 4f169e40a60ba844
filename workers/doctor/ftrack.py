"""What ``farmhaul doctor`` finds at ftrack and, when asked to, at its media store."""

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
from tasks.transfer.models import SERVER_LOCATION_ID, FileIdentity, Target, Transfer, derived_id
from tasks.transfer.put import FileBody, send, store_session
from tasks.transfer.signing import sign
from workers.doctor.finding import Finding, skew

#: What ``--put`` sends.
CONTENT = b"farmhaul doctor --put\n"
#: What the system says of a name that leads to no address (getaddrinfo).
NO_NAME = re.compile(r"\b(host)?name\b", re.IGNORECASE)


def ftrack(settings: Settings, *, put: bool) -> Iterator[Finding]:
    """Ask ftrack for its location, compare its clock; with ``put``, send the store a few bytes."""
    if settings.ftrack is None:
        yield Finding("ok", "ftrack", "no credentials on this node; workers alone need them")
        if put:
            step = "run it on a worker's node, with the worker's environment"
            yield Finding("fault", "store", "without credentials nothing can be signed", step)
        return
    server, dates = settings.ftrack, list[str]()
    client = FtrackClient(server.server_url, server.api_user, server.api_key)

    def note_date(answer: Any, **_: Any) -> None:
        dates.extend([answer.headers["Date"]] if "Date" in answer.headers else [])

    client.session.hooks["response"].append(note_date)
    try:
        yield from _location(server, client)
        if put:
            yield from _put(server, client)
    except CredentialsRefusedError:
        says = f"{server.server_url} refuses the API key of {server.api_user}"
        step = "correct FTRACK_API_USER and FTRACK_API_KEY here and on the workers; restart these"
        yield Finding("fault", "ftrack", says, step)
    except (UploadError, FtrackRefusal) as error:
        step = f"curl -I {server.server_url} from here; correct FTRACK_SERVER"
        yield Finding("fault", "ftrack", _first_words(error), step)
    for date in dates[:1]:
        with suppress(ValueError):  # a proxy's, which is no date
            yield from skew("ftrack", parsedate_to_datetime(date).timestamp(), settings)


def _location(server: FtrackSettings, client: FtrackClient) -> Iterator[Finding]:
    expression = f'select id from Location where id is "{SERVER_LOCATION_ID}"'  # noqa: S608 not SQL
    [result] = client.call([{"action": "query", "expression": expression}])
    if not result.get("data"):
        says = "ftrack.server is no location there, or our user may not see it"
        step = f"let the API user {server.api_user} read locations; ask ftrack's administrator"
        yield Finding("fault", "ftrack", says, step)
    else:
        says = f"{server.server_url} takes our credentials and has ftrack.server"
        yield Finding("ok", "ftrack", says)


def _put(server: FtrackSettings, client: FtrackClient) -> Iterator[Finding]:
    """Send a few bytes as an upload's are sent. ftrack is told of no component.

    Always under the same id, which no component has: what remains is one object of 22 bytes.
    """
    digest = hashlib.md5(CONTENT, usedforsecurity=False).digest()
    transfer = Transfer(
        "doctor",
        Target(derived_id("doctor", server.server_url)),
        "farmhaul-doctor.txt",
        identity=FileIdentity(len(CONTENT), 0, 0, 0),
        checksum=base64.b64encode(digest).decode(),
    )
    signed = sign(client, [transfer])[transfer.upload_id]
    if isinstance(signed, UploadError):
        step = f"let the API user {server.api_user} upload; ask ftrack's administrator"
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
    says = f"{host} took a signed PUT of {len(CONTENT)} bytes in {took_ms:.0f} ms"
    yield Finding("ok", "store", says)


def _trouble(error: UploadError, host: str) -> tuple[str, str]:
    """Say what the store did, and what to do; the URL's query is in neither."""
    says = f"{host}: {_first_words(error)}"
    if isinstance(error, UrlRefusedError):
        return says, f"compare the clocks; let no proxy change what is sent to {host} (NO_PROXY)"
    if isinstance(error, DigestMismatchError):
        return says, "bytes change on the way: test this node's memory, and look for a proxy"
    if not isinstance(error, ServiceUnavailableError):
        return says, "ask those who run the store what it has against this PUT"
    says = f"{host}: {error.why}"
    if "SSL" in error.why:
        return says, "name the authority of its certificate in REQUESTS_CA_BUNDLE, or mend that"
    if NO_NAME.search(error.why):
        return says, f"getent hosts {host} on this node; mend its DNS"
    return says, f"curl -I https://{host} from here; look at firewalls, proxies, and the store"


def _first_words(error: Exception) -> str:
    return str(error).partition("; ")[0]
