"""The proxy before both services, which plays faults: ``python -m tests.sandbox.front CONFIG``.

Clients talk to the front, and the front to the stand-in for ftrack and to SeaweedFS. The front
can do what an HTTP server cannot do to its own connections: reset them, lose a response, read
slowly. It also records every request. Threads with blocking sockets and a reused buffer each
forward a body several times as fast as asyncio's streams.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import traceback
from http import HTTPStatus
from typing import Any

from .config import FrontConfig
from .exchange import Exchange
from .faults import Fault, FaultBook, Service
from .journal import Journal
from .wire import Closed, Connection, Head, answer

_CONTROL = "/sandbox/"


class Front:
    """Two listening ports, and the faults and the journal that they share."""

    def __init__(self, config: FrontConfig) -> None:
        self._config = config
        self._faults = FaultBook()
        self._journal = Journal()

    def serve(self) -> None:
        config = self._config
        doors: list[tuple[Service, int, int]] = [
            ("ftrack", config.ftrack_port, config.ftrack_upstream),
            ("store", config.store_port, config.store_upstream),
        ]
        # Bound here, so that the whole front exits if a port is taken, and not only a thread.
        listeners = [socket.create_server(("127.0.0.1", port), backlog=512) for _, port, _ in doors]
        threads = [
            threading.Thread(target=self._listen, args=(service, listener, upstream))
            for listener, (service, _, upstream) in zip(listeners, doors, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _listen(self, service: Service, listener: socket.socket, upstream: int) -> None:
        while True:
            sock, _ = listener.accept()
            threading.Thread(
                target=self._converse, args=(service, Connection(sock), upstream), daemon=True
            ).start()

    def _converse(self, service: Service, client: Connection, upstream: int) -> None:
        """Handle all requests of one connection."""
        exchange = Exchange(service, client, upstream, self._faults, self._journal)
        try:
            while (head := client.read_head()) is not None:
                if service == "ftrack" and head.start[1].startswith(_CONTROL):
                    going_on = self._control(head, client, exchange)
                else:
                    going_on = exchange.run(head)
                if not going_on:
                    break
        except (OSError, Closed):
            pass  # the client left, or a fault closed its connection
        except Exception:  # noqa: BLE001 - a bug ends one connection, not the front
            traceback.print_exc()
        finally:
            exchange.close()
            client.close()

    def _control(self, head: Head, client: Connection, exchange: Exchange) -> bool:
        """Handle requests of the test itself: no fault strikes them, no journal records them."""
        method, target = head.start[0], head.start[1]
        what = target.removeprefix(_CONTROL)
        body = client.read(head.length)
        result: Any = {}
        try:
            match (method, what.split("/")):
                case "POST", ["faults"]:
                    result = {"id": self._faults.add(Fault(**json.loads(body)))}
                case "GET", ["faults"]:
                    result = self._faults.listing()
                case "DELETE", ["faults"]:
                    self._faults.clear()
                case "DELETE", ["faults", number]:
                    self._faults.clear(int(number))
                case "GET", ["requests"]:
                    result = self._journal.entries()
                case "DELETE", ["requests"]:
                    self._journal.clear()
                case _:
                    if what == "reset":
                        self._faults.clear()
                        self._journal.clear()
                    return exchange.forward_plainly(head, body)
        except (TypeError, ValueError) as error:
            client.send(_json(HTTPStatus.BAD_REQUEST, {"error": str(error)}))
        else:
            client.send(_json(HTTPStatus.OK, result))
        return not head.closes


def _json(status: HTTPStatus, value: Any) -> bytes:
    # Header values in the journal may hold bytes that are not UTF-8; JSON escapes them.
    body = json.dumps(value).encode()
    return answer(status, status.phrase, {"Content-Type": "application/json"}, body)


def main() -> None:
    Front(FrontConfig.load(sys.argv[1])).serve()


if __name__ == "__main__":
    main()
