"""Announce located components on ftrack's event hub, as the official clients do.

This is best effort: an event that cannot be sent is dropped. The protocol is Socket.IO 0.9
(https://github.com/socketio/socket.io-spec): a handshake over HTTP, then packets
``TYPE:ID:ENDPOINT:DATA`` on a websocket. ``ftrack_api.event.hub`` speaks it too, but it mutes all
logging of the process while it reconnects, follows redirects with the API key in its headers, and
starts threads that never stop.
"""

from __future__ import annotations

import json
import os
import queue
import re
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import requests

from tasks.config.environment import SettingsError
from tasks.config.settings import FtrackSettings, Settings
from tasks.log import log
from tasks.records.fail_fast import fail_fast_redis
from tasks.records.keys import TOTALS
from tasks.transfer.exchange import Exchange, ExchangeAdapter
from tasks.transfer.http import PlainSession, body_of
from tasks.transfer.models import SERVER_LOCATION_ID

if TYPE_CHECKING:
    import websocket

TOPIC = "ftrack.location.component-added"
SWITCHED = 101
DISCONNECT, HEARTBEAT, ACKNOWLEDGE, ERROR = "0", "2", "6", "7"

MAX_QUEUED = 10_000  # an hour of uploads of a busy worker process, in about 2 MB
MAX_AT_ONCE = 100
TIMEOUT_S = 10.0
#: If the hub is away, the next attempt is after this time; events until then are dropped.
RETRY_S = 30.0
#: The hub closes a connection that is silent for its timeout, 60 s for ftrack. We close it first.
IDLE_S = 20.0
#: What the hub may send: as the answer to the handshake, and for MAX_AT_ONCE events.
MAX_HANDSHAKE_BYTES = 10_000
MAX_REPLY_BYTES = 1 << 20
#: It becomes a part of a URL.
SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")

#: The ids of a component and of a location.
Located: TypeAlias = tuple[str, str]


class HubError(Exception):
    """The event hub did not accept an event. The message contains no address and no key."""


class Events:
    """The events of one worker process, sent by a thread that starts with the first one.

    It never raises and never waits. An event that cannot be sent is dropped; ``dropped`` is called
    with the number of dropped events.
    """

    def __init__(self, ftrack: FtrackSettings, dropped: Callable[[int], object]) -> None:
        try:
            import websocket  # noqa: F401 reported at the start, not with the first upload
        except ImportError:
            raise SettingsError(
                "FARMHAUL_FTRACK_EVENTS: is on, and websocket-client is not installed; "
                "install farmhaul[events], or set it to off"
            ) from None
        self._ftrack = ftrack
        self._dropped = dropped
        self._queue: queue.Queue[Located] = queue.Queue(MAX_QUEUED)
        self._overflow: deque[Located] = deque()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._hub: _Hub | None = None
        self._away = False
        self._again_at = 0.0

    def located(self, component_ids: Iterable[str], location_id: str = SERVER_LOCATION_ID) -> None:
        """Announce that these components are in a location now."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="events", daemon=True)
                self._thread.start()
        for component_id in component_ids:
            located = component_id, location_id
            try:
                self._queue.put_nowait(located)
            except queue.Full:
                self._overflow.append(located)  # counted by the thread: Redis may be slow

    def _run(self) -> None:
        while True:
            located = self._next()
            self._drop_overflow()
            try:
                if located:
                    self._send(located)
                else:
                    self._hang_up()
            except Exception as error:  # noqa: BLE001 the thread survives whatever the hub sends
                self._hang_up()
                self._drop(len(located))
                self._again_at = time.monotonic() + RETRY_S
                if not self._away:
                    self._away = True
                    # Errors of libraries may contain addresses, so only their kind is logged.
                    why = str(error) if isinstance(error, HubError) else type(error).__name__
                    log.warning("events_away", text=f"{why}; events are dropped, uploads go on")

    def _next(self) -> list[Located]:
        located: list[Located] = []
        try:
            located.append(self._queue.get(timeout=IDLE_S))
            while len(located) < MAX_AT_ONCE:
                located.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return located

    def _send(self, located: list[Located]) -> None:
        if time.monotonic() < self._again_at:
            self._drop(len(located))
            return
        if self._hub is not None:
            try:
                self._hub.publish(located)
            except Exception:  # noqa: BLE001 the hub may have hung up; a new connection shows
                self._hang_up()
        if self._hub is None:
            self._hub = _Hub(self._ftrack)
            self._hub.publish(located)
        if self._away:
            self._away = False
            log.info("events_back")

    def _hang_up(self) -> None:
        if self._hub is not None:
            self._hub.close()
            self._hub = None

    def _drop_overflow(self) -> None:
        if count := len(self._overflow):
            for _ in range(count):
                self._overflow.popleft()
            self._drop(count)

    def _drop(self, count: int) -> None:
        try:
            self._dropped(count)
        except Exception:  # noqa: BLE001 Redis is away; its outage is logged elsewhere
            log.debug("events_not_counted", count=count)


def open_events(settings: Settings) -> Events | None:
    """Return the events of this process, or None if FARMHAUL_FTRACK_EVENTS is off."""
    if not settings.events:
        return None
    client = fail_fast_redis(settings)
    return Events(
        settings.require_ftrack(), lambda count: client.hincrby(TOTALS, "events_dropped", count)
    )


class _Hub:
    """A connection to the event hub.

    Its methods raise HubError, and any error of requests and websocket.
    """

    def __init__(self, ftrack: FtrackSettings) -> None:
        import websocket

        self._user = ftrack.api_user
        self._source_id = uuid.uuid4().hex
        self._number = 0
        self._left_bytes = MAX_REPLY_BYTES
        base = f"{ftrack.server_url}/socket.io/1/"
        session_id = _handshake(base, ftrack)
        # Trust the same certificates as requests does.
        ca_bundle = os.environ.get("REQUESTS_CA_BUNDLE") or requests.utils.DEFAULT_CA_BUNDLE_PATH
        hub = self

        class Bounded(websocket.WebSocket):
            """It has no limit of its own for a frame, nor for fragments of one."""

            def _recv(self, most_bytes: int) -> bytes:
                block: bytes = super()._recv(most_bytes)
                hub._left_bytes -= len(block)
                if hub._left_bytes < 0:
                    raise HubError("the event hub sends more than it was asked for")
                return block

        self._socket: websocket.WebSocket = Bounded(sslopt={"ca_certs": ca_bundle})
        self._socket.settimeout(TIMEOUT_S)
        with self._limited():
            url = f"ws{base.removeprefix('http')}websocket/{session_id}"
            self._socket.connect(url, redirect_limit=0)
        if self._socket.getstatus() != SWITCHED:  # a redirect may lead into the network
            self.close()
            raise HubError("the event hub does not switch to a websocket")

    def publish(self, located: Iterable[Located]) -> None:
        """Send an event for each of them, and wait until the hub has acknowledged them all."""
        self._left_bytes = MAX_REPLY_BYTES
        with self._limited():
            self._publish(located)

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """Cut the connection if the block takes long: the timeout begins again with each byte."""

        def cut() -> None:
            with suppress(OSError, AttributeError):  # it is closed, or not open yet
                # Not the shutdown of TLS, which the other thread may be using.
                socket.socket.shutdown(self._socket.sock, socket.SHUT_RDWR)

        timer = threading.Timer(2 * TIMEOUT_S, cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _publish(self, located: Iterable[Located]) -> None:
        waiting = set()
        for component_id, location_id in located:
            self._number += 1
            waiting.add(self._number)
            data = {"name": "ftrack.event", "args": [self._event(component_id, location_id)]}
            self._socket.send(f"5:{self._number}+::{json.dumps(data)}")
        until = time.monotonic() + TIMEOUT_S
        while waiting:
            if time.monotonic() > until:
                raise HubError("the event hub does not acknowledge events")
            kind, _, _, data = (*self._socket.recv().split(":", 3), "", "", "")[:4]
            if kind == HEARTBEAT:
                self._socket.send("2::")
            elif kind in {DISCONNECT, ERROR, ""}:
                raise HubError("the event hub closed the connection")
            elif kind == ACKNOWLEDGE:
                number, _, reply = data.partition("+")
                waiting.discard(int(number))
                if reply and json.loads(reply)[0].get("success") is False:
                    raise HubError("the event hub refused an event")

    def close(self) -> None:
        try:
            self._socket.close(timeout=0)
        except Exception:  # noqa: BLE001 the connection is given up in any case
            log.debug("events_not_closed")

    def _event(self, component_id: str, location_id: str) -> dict[str, Any]:
        return {
            "id": uuid.uuid4().hex,
            "topic": TOPIC,
            "data": {"component_id": component_id, "location_id": location_id},
            "source": {
                "id": self._source_id,
                "user": {"username": self._user},
                "host": socket.gethostname(),
            },
            "target": "",
            "sent": None,
            "inReplyToEvent": None,
        }


def _handshake(url: str, ftrack: FtrackSettings) -> str:
    """Return the id of a new session."""
    # As bytes: requests cannot send a str with characters outside latin-1.
    headers = {"ftrack-user": ftrack.api_user.encode(), "ftrack-api-key": ftrack.api_key.encode()}
    with PlainSession() as session, Exchange(TIMEOUT_S):
        for scheme in ("https://", "http://"):
            session.mount(scheme, ExchangeAdapter())
        # A redirect would send the key to another host.
        response = session.get(
            url, headers=headers, timeout=TIMEOUT_S, allow_redirects=False, stream=True
        )
        text = body_of(response, MAX_HANDSHAKE_BYTES).decode("latin-1")
    if response.status_code != requests.codes.ok:
        raise HubError(f"the event hub answered the handshake with {response.status_code}")
    session_id, *_, transports = text.split(":")
    if "websocket" not in transports.split(","):
        raise HubError("the event hub offers no websocket")
    if not SESSION_ID.fullmatch(session_id):
        raise HubError("the event hub's session id is none")
    return session_id
