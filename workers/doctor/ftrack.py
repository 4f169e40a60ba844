"""Doctor's checks of ftrack and, with ``--put``, of its media store."""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from os.path import commonpath
from typing import Any
from urllib.parse import SplitResult, urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy

from tasks.config.remedies import explained
from tasks.config.settings import FtrackSettings, Settings
from tasks.config.trust import bundle_variable, remedy_for, shown_proxy, system_bundle
from tasks.intake.exit_codes import say
from tasks.transfer.errors import (
    CredentialsRefusedError,
    DigestMismatchError,
    OwnSettingsError,
    ServiceUnavailableError,
    TargetRefusedError,
    UploadError,
    UrlRefusedError,
)
from tasks.transfer.exchange import EXCHANGE_S
from tasks.transfer.ftrack import FtrackClient, FtrackRefusal
from tasks.transfer.http import HTTP_ERRORS, TIMEOUT_S, PlainSession
from tasks.transfer.locations import Locations
from tasks.transfer.models import SERVER_LOCATION_ID
from tasks.transfer.put import store_session
from tasks.transfer.trial import CONTENT, send_trial, sign_trial
from workers.doctor.finding import Finding, skew

#: After so long without a finding, people wonder whether doctor itself hangs.
SILENT_S = 3.0


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
        with _waiting_told(server.server_url):
            yield from _location(server, client)
            yield from _also_in(settings, client)
        if put:
            yield from _put(server, client)
    except CredentialsRefusedError:
        says = f"{server.server_url} refuses the API key of {server.api_user}"
        step = "correct FTRACK_API_USER and FTRACK_API_KEY here and on workers; restart the workers"
        yield Finding("fault", "ftrack", says, step)
    except OwnSettingsError as error:
        yield Finding("fault", "ftrack", str(error), _own_step(error))
    except (UploadError, FtrackRefusal) as error:
        way = _proxy_of(server.server_url)
        step = f"run {_curl(server.server_url)} on this node; correct FTRACK_SERVER{way}"
        yield Finding("fault", "ftrack", _first_words(error), step)
    for date in dates[:1]:
        with suppress(ValueError, OverflowError, OSError):  # a proxy may send any Date
            yield from skew("ftrack", parsedate_to_datetime(date).timestamp(), settings)


@contextmanager
def _waiting_told(server: str) -> Iterator[None]:
    """Say on stderr who is waited for, if that takes long: a call may take its whole time."""
    words = f"waiting for an answer of {server}; that may take {EXCHANGE_S:.0f} s"
    timer = threading.Timer(SILENT_S, say, [words])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


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


def _also_in(settings: Settings, client: FtrackClient) -> Iterator[Finding]:
    """Check that files of this node can be in the location of FARMHAUL_ALSO_IN."""
    if not settings.also_in:
        return
    found = Locations(client, settings.locations).find([settings.also_in])[settings.also_in]
    if isinstance(found, TargetRefusedError):
        says, _, step = explained(found).partition("; ")
        yield Finding("fault", "also-in", says, step)
        return
    folder = found.folder or "/"
    roots = [
        root for root in settings.storage_roots if commonpath([root, folder]) in {root, folder}
    ]
    if roots:
        says = f"location {found.name} begins at {folder}, and has files of {', '.join(roots)}"
        yield Finding("ok", "also-in", says)
    else:
        says = f"location {found.name} begins at {folder}, and has no storage root of this node"
        step = "correct FARMHAUL_LOCATIONS here, or FARMHAUL_ALSO_IN"
        yield Finding("fault", "also-in", says, step)


def _put(server: FtrackSettings, client: FtrackClient) -> Iterator[Finding]:
    """Send a few bytes as an upload does, see ``tasks.transfer.trial``."""
    try:
        signed = sign_trial(client, server.server_url)
    except UploadError as error:
        step = f"ask ftrack's administrator to let the API user {server.api_user} upload"
        yield Finding("fault", "store", f"no PUT was signed: {_first_words(error)}", step)
        return
    url = urlsplit(signed.signed.url if signed.signed else "")
    with store_session(connections=1) as session:
        began = time.perf_counter()
        try:
            with _waiting_told(str(url.hostname)):
                send_trial(signed, session)
        except UploadError as error:
            yield Finding("fault", "store", *_trouble(error, url))
            return
    took_ms = (time.perf_counter() - began) * 1000
    says = f"{url.hostname} accepted a signed PUT of {len(CONTENT)} bytes in {took_ms:.0f} ms"
    yield Finding("ok", "store", says)


def _trouble(error: UploadError, url: SplitResult) -> tuple[str, str]:
    """Return what went wrong at the store, and what to do; neither contains the URL's query."""
    host = url.hostname
    says = f"{host}: {_first_words(error)}"
    if isinstance(error, OwnSettingsError):
        return str(error), _own_step(error)
    if isinstance(error, UrlRefusedError):
        return (
            says,
            f"compare the clocks; check that no proxy changes requests to {host} (NO_PROXY)",
        )
    if isinstance(error, DigestMismatchError):
        return says, "bytes change in transit: test this node's memory, and look for a proxy"
    if not isinstance(error, ServiceUnavailableError):
        return says, "ask the operators of the store why it refuses this PUT"
    curl = _curl(f"{url.scheme}://{url.netloc}")
    return (
        f"{host}: {error.why}",
        f"run {curl} on this node; check firewalls, proxies, and the store",
    )


def _own_step(error: OwnSettingsError) -> str:
    """Return the remedy for a fault of this node, after a trial of the likeliest one."""
    bundle = system_bundle()
    if error.fault == "authority" and bundle and not bundle_variable(os.environ):
        with PlainSession() as session, suppress(*HTTP_ERRORS):
            session.head(error.url, verify=bundle, timeout=TIMEOUT_S)
            return f"set REQUESTS_CA_BUNDLE={bundle}, which has that authority, on workers too"
    return remedy_for(error, os.environ)


def _proxy_of(url: str) -> str:
    """Return the variable of the proxy for a URL, as one more that may be wrong; empty if none."""
    is_used = select_proxy(url, get_environ_proxies(url))
    return f" or {shown_proxy(url, os.environ)}" if is_used else ""


def _curl(url: str) -> str:
    """Return a command that takes the way of a worker: curl itself trusts other authorities."""
    if url.startswith("http:"):
        return f"curl -I {url}"
    variable = bundle_variable(os.environ)
    bundle = os.environ[variable] if variable else DEFAULT_CA_BUNDLE_PATH
    option = "--capath" if os.path.isdir(bundle) else "--cacert"
    return f"curl -I {option} {shlex.quote(bundle)} {url}"


def _first_words(error: Exception) -> str:
    return str(error).partition("; ")[0]
