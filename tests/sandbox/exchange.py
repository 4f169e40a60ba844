"""One request and its response on their way through the front."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, unquote, urlsplit

from .canned import body_length, operations_of, s3_error, stored
from .canned import canned as canned_answer
from .config import LIFETIME_HEADER
from .faults import Fault, FaultBook, Kind, Seen, Service
from .journal import Entry, Journal
from .wire import Closed, Connection, Head, Pace, shared_pace

#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html: 5 GiB in one PUT.
MAX_PUT_BYTES = 5 * 2**30


class _Hangup(Exception):
    """A fault closed the connection."""


class Exchange:
    """The requests of one client connection, one at a time."""

    def __init__(
        self,
        service: Service,
        client: Connection,
        upstream_port: int,
        faults: FaultBook,
        journal: Journal,
    ) -> None:
        self._service = service
        self._client = client
        self._upstream_port = upstream_port
        self._upstream: Connection | None = None
        self._faults = faults
        self._journal = journal
        self._is_first = True
        self._answered_early = False

    def close(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None

    def run(self, head: Head) -> bool:
        """Handle one request; return whether the connection stays open."""
        if head.headers.get("expect", "").lower() == "100-continue":
            self._client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = head.without("expect")
        body = self._client.read(head.length) if self._service == "ftrack" else None
        entry, seen = self._look(head, body)
        self._journal.add(entry)
        striking = self._faults.strike(seen)
        entry.faults = sorted(striking)
        try:
            return self._play(head, body, striking, entry)
        except _Hangup:
            return False
        finally:
            self._is_first = False
            entry.ended_at = time.time()

    def forward_plainly(self, head: Head, body: bytes) -> bool:
        """Forward a request of the test itself."""
        return self._return(self._ask(head, body, {}), head, {}, None)

    def _look(self, head: Head, body: bytes | None) -> tuple[Entry, Seen]:
        method, target = head.start[0], head.start[1]
        url = urlsplit(target)
        entry = Entry(self._service, method, target, head.headers, head.length, time.time())
        if body is not None:
            entry.operations = operations_of(body)
            operations = entry.operations or ()
            entry.actions = [str(operation.get("action")) for operation in operations]
            types = [str(operation.get("entity_type")) for operation in operations]
            text = body + target.encode()
            return entry, Seen(self._service, method, entry.actions, types, text=text)
        entry.key = unquote(url.path).partition("/")[2].partition("/")[2]
        number = parse_qs(url.query).get("partNumber", [""])[0]
        entry.part_number = int(number) if number.isdigit() else None
        return entry, Seen(self._service, method, (), (), entry.key, entry.part_number)

    def _play(
        self, head: Head, body: bytes | None, striking: dict[Kind, Fault], entry: Entry
    ) -> bool:
        latency = striking.get("latency_s")
        if latency is not None:
            time.sleep(float(latency.value) + (latency.connect_s if self._is_first else 0))
        reset = striking.get("reset")
        if reset is not None and reset.after_bytes is None:
            self._client.reset()
            raise _Hangup
        lifetime = striking.get("url_lifetime_s")
        if lifetime is not None:
            head = head.plus(LIFETIME_HEADER, str(lifetime.value))
        canned = striking.get("status") or striking.get("error") or striking.get("junk")
        if (late := striking.get("late_s")) is not None and body is not None:
            threading.Timer(float(late.value), self._run_late, (head, body)).start()
            canned = Fault("ftrack", "status", 504)
        refusal = self._s3_rule(head) if body is None else None
        if refusal is None and canned is not None and not canned.done:
            refusal = canned_answer(canned)
        if refusal is None and "discard" in striking:
            refusal = stored(head)
        if refusal is not None:
            self._swallow(head.length if body is None else 0, striking)
            entry.status = int(refusal[9:12])
            self._client.send(refusal)
            return not head.closes
        reply = self._ask(head, body, striking, entry)
        if "lost_answer" in striking:
            self.close()
            raise _Hangup
        if canned is not None:
            self._drop_body(reply, head)
            made_up = canned_answer(canned)
            entry.status = int(made_up[9:12])
            self._client.send(made_up)
            return not head.closes
        entry.status = int(reply.start[1])
        return self._return(reply, head, striking, entry)

    def _run_late(self, head: Head, body: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self._upstream_port)) as sock:
            upstream = Connection(sock)
            upstream.send(head.raw)
            upstream.send(body)
            upstream.read_head()

    def _swallow(self, length: int, striking: dict[Kind, Fault]) -> None:
        """Read the body and drop it."""
        bandwidth = striking.get("bandwidth_bytes_s")
        pace = Pace(float(bandwidth.value) if bandwidth else None)
        for block in self._client.blocks(length, pace.block):
            pace.passed(len(block))

    @staticmethod
    def _s3_rule(head: Head) -> bytes | None:
        """Apply rules of Amazon's S3 that SeaweedFS does not follow."""
        if head.chunked:
            # https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
            return s3_error(501, "NotImplemented", "Transfer-Encoding is not implemented")
        if head.start[0] == "PUT" and "content-length" not in head.headers:
            return s3_error(411, "MissingContentLength", "Content-Length is missing")
        if head.start[0] == "PUT" and head.length > MAX_PUT_BYTES:
            return s3_error(400, "EntityTooLarge", "The upload is larger than allowed")
        return None

    def _ask(
        self,
        head: Head,
        body: bytes | None,
        striking: dict[Kind, Fault],
        entry: Entry | None = None,
    ) -> Head:
        """Forward the request; return the head of the response."""
        upstream = self._connect()
        try:
            upstream.send(head.raw)
            if body is not None:
                upstream.send(body)
            else:
                with self._cut_when_idle(striking.get("idle_cut_s")):
                    self._pump_request(upstream, head.length, striking, entry)
        except (BrokenPipeError, ConnectionResetError):
            # The server may have answered and closed in the middle of the body.
            if not upstream.readable:
                raise
            self._answered_early = True
        reply = upstream.read_head()
        if reply is None:
            raise Closed("the server behind the front closed without an answer")
        return reply

    @contextmanager
    def _cut_when_idle(self, fault: Fault | None) -> Iterator[None]:
        self._client.sock.settimeout(float(fault.value) if fault else None)
        try:
            yield
        except TimeoutError:
            self._client.reset()
            raise _Hangup from None
        self._client.sock.settimeout(None)

    def _connect(self) -> Connection:
        if self._upstream is not None and self._upstream.readable:
            self.close()  # between two requests only the end can be readable
        if self._upstream is None:
            address = ("127.0.0.1", self._upstream_port)
            self._upstream = Connection(socket.create_connection(address))
        return self._upstream

    def _pump_request(
        self,
        upstream: Connection,
        length: int,
        striking: dict[Kind, Fault],
        entry: Entry | None,
    ) -> None:
        bandwidth, stall = striking.get("bandwidth_bytes_s"), striking.get("stall")
        reset, flip = striking.get("reset"), "bad_digest" in striking
        pace = Pace(float(bandwidth.value) if bandwidth else None)
        line = striking.get("line_bytes_s")
        if line is not None:
            pace = shared_pace(float(line.value))
        if line or bandwidth:
            # Otherwise the kernel takes a whole part that is not on the line yet.
            self._client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 << 10)
        passed = 0
        if stall is not None and not stall.after_bytes:
            time.sleep(float(stall.value))
            stall = None
        for block in self._client.blocks(length, pace.block):
            if flip:
                block[0] ^= 1
                flip = False
            if reset is not None and passed + len(block) >= (reset.after_bytes or 0):
                upstream.send(block[: (reset.after_bytes or 0) - passed])
                self._client.reset()
                raise _Hangup
            upstream.send(block)
            passed += len(block)
            if entry is not None:
                entry.came_bytes = passed
            pace.passed(len(block))
            if stall is not None and passed >= (stall.after_bytes or 0):
                time.sleep(float(stall.value))
                stall = None
            if passed < length and upstream.readable:
                self._answered_early = True
                return

    def _return(
        self, reply: Head, request: Head, striking: dict[Kind, Fault], entry: Entry | None
    ) -> bool:
        """Send the response back; return whether the connection stays open."""
        assert self._upstream is not None
        etag = striking.get("etag")
        if etag is not None:
            value = str(etag.value or "0" * 32)
            own = reply.headers.get("etag", "").strip('"')
            value = value.replace("{}", own) if "{}" in value else f'"{value}"'
            reply = reply.without("etag").plus("ETag", value)
        if reply.chunked:
            body = self._upstream.read_chunked()
            reply = reply.without("transfer-encoding").plus("Content-Length", str(len(body)))
            self._client.send(reply.raw + body)
        else:
            self._client.send(reply.raw)
            bandwidth = striking.get("bandwidth_bytes_s")
            pace = Pace(float(bandwidth.value) if bandwidth else None)
            reset = striking.get("reset") if request.start[0] == "GET" else None
            flip = "bad_digest" in striking and request.start[0] == "GET"
            passed = 0
            for block in self._upstream.blocks(body_length(reply, request), pace.block):
                if flip:
                    block[0] ^= 1
                    flip = False
                if reset is not None and passed + len(block) > (reset.after_bytes or 0):
                    self._client.send(block[: (reset.after_bytes or 0) - passed])
                    self._client.close_gently()
                    raise _Hangup
                self._client.send(block)
                passed += len(block)
                if entry is not None:
                    entry.answer_bytes = passed
                pace.passed(len(block))
        if reply.closes or self._answered_early:
            self.close()
            self._client.close_gently()
            return False
        return not request.closes

    def _drop_body(self, reply: Head, request: Head) -> None:
        assert self._upstream is not None
        if reply.chunked:
            self._upstream.read_chunked()
        else:
            self._upstream.read(body_length(reply, request))
