"""The HTTP server of the exporter: bounded in time, and closed to pages of other sites."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server

from tasks.config.settings import Settings
from tasks.config.texts import visible
from tasks.intake.errors import BadInputError
from tasks.records.fail_fast import fail_fast_redis
from workers.exporter import FarmCollector
from workers.loopback import is_from_here, is_loopback, is_rebound

#: A connection that sends nothing, or takes nothing, for so long is closed.
IDLE_S = 10.0
#: And so is one whose request or answer takes so long, byte by byte.
LONGEST_S = 30.0
#: So many connections may wait until this process accepts them. Of socketserver's five, those of a
#: busy machine are soon full; the kernel then leaves others in doubt for up to half a minute.
BACKLOG = 512


def serve(settings: Settings, address: str, port: int) -> None:
    """Serve metrics until the process is stopped.

    Raises:
        BadInputError: the address and port cannot be used.
    """
    registry = CollectorRegistry()
    registry.register(FarmCollector(fail_fast_redis(settings)))
    try:
        server, thread = start_http_server(port, address, registry)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "this is not an address"
        raise BadInputError(f"cannot listen on {visible(address)}:{port}: {why}") from None
    server.socket.listen(BACKLOG)
    server.RequestHandlerClass = with_time_limits(server.RequestHandlerClass)
    server.set_app(_guarded(server.get_app(), on_loopback=is_loopback(address)))
    thread.join()


def with_time_limits(handler: Any) -> Any:
    """Return a handler of requests that keeps no thread for ever, whatever the other side does."""

    class Handler(handler):
        timeout = IDLE_S

        def handle(self) -> None:
            timer = threading.Timer(LONGEST_S, self._cut)
            timer.daemon = True
            timer.start()
            try:
                super().handle()
            finally:
                timer.cancel()

        def _cut(self) -> None:
            with suppress(OSError):  # it has just ended
                self.connection.shutdown(socket.SHUT_RDWR)

    return Handler


def _guarded(answer: Any, *, on_loopback: bool) -> Any:
    """Refuse what a page elsewhere has a browser ask."""

    def guarded(request: dict[str, Any], start: Any) -> Any:
        host, origin = request.get("HTTP_HOST", ""), request.get("HTTP_ORIGIN")
        if on_loopback:
            is_fine = is_from_here(host, origin, request.get("HTTP_SEC_FETCH_SITE"))
        else:  # in a container, it listens on all addresses, and is published on loopback
            is_fine = not is_rebound(host, request.get("HTTP_ACCEPT_LANGUAGE"))
        if is_fine:
            return answer(request, start)
        start("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"name the exporter by its IP address, or on its own machine by localhost\n"]

    return guarded
