"""What one idle worker asks of Redis, by MONITOR: who plays it back stands for that worker.

    recording = record(stand, settle_s=15, watched_s=60)
    recording.write(path)

Meanwhile the bench notes another worker, which holds the lock of the reconciler: a worker that is
alone asks for less.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import redis

from tasks.intake.resp import command
from tasks.records.keys import ALIVE, RECONCILER, WORKERS
from tests.bench.stand import Stand
from tests.farm import Worker
from workers.health import VERSION
from workers.steps.reconcile import LOCK_S

NAME = "recorded"
HOST = socket.gethostname()
_LINE = re.compile(rb"^(\d+\.\d+) \[\d+ ([^\]]+)\] (.*)$", re.DOTALL)
_WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(rb"\\(x[0-9a-f]{2}|.)", re.DOTALL)
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}
#: Commands that follow sooner were sent together: redis-py takes longer from an answer to the next
#: command, and Redis takes less from one command to the next.
PIPELINED_S = 60e-6
#: How long the start of a worker may take, on a machine with other work.
START_S = 300.0
BLOCKING = {b"BRPOP", b"BLMOVE"}
SUBSCRIBING = {b"SUBSCRIBE", b"PSUBSCRIBE"}
#: The first worker loads the scripts; and a number of a connection is good for that one alone.
LEFT_OUT = ([b"SCRIPT", b"LOAD"], [b"CLIENT", b"UNBLOCK"])

Words = list[bytes]


class Said(NamedTuple):
    """A command as MONITOR shows it."""

    at: float
    address: str
    words: Words


class Line(NamedTuple):
    """One connection: what it says at its start, and then again and again, each at its time."""

    start: list[Words]
    loop: list[tuple[float, list[Words]]]


class Recording(NamedTuple):
    """The connections of one idle worker."""

    node: str
    host: str
    period_s: float
    lines: list[Line]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self, default=lambda word: word.decode("latin-1")))

    @classmethod
    def read(cls, path: Path) -> Recording:
        node, host, period_s, lines = json.loads(path.read_text())
        return cls(node, host, period_s, [Line(_packed(a), _packed(b)) for a, b in lines])

    def of_node(self, number: int) -> list[Line]:
        """Return the connections of another worker, which differs by its name and host."""
        changes = (
            (self.node.encode(), b"sim%05d@node%05d" % (number, number)),
            (b"farmhaul." + self.host.encode(), b"farmhaul.node%05d" % number),
        )

        def renamed(words: Words) -> Words:
            for old, new in changes:
                words = [word.replace(old, new) for word in words]
            return words

        return [
            Line(
                [renamed(words) for words in line.start],
                [(at, [renamed(words) for words in group]) for at, group in line.loop],
            )
            for line in self.lines
        ]


def _packed(value: Any) -> Any:
    if isinstance(value, list):
        return [_packed(one) for one in value]
    return value.encode("latin-1") if isinstance(value, str) else value


def to_bytes(group: list[Words]) -> bytes:
    """Return commands as Redis reads them."""
    return b"".join(command(*words) for words in group)


def record(stand: Stand, settle_s: float, watched_s: float) -> Recording:
    """Start a worker, and record it from its start on and for so long while it is idle."""
    worker = Worker(NAME, stand.folder, stand.env, options=("--concurrency=1",), command="farmhaul")
    with _other_worker(stand) as ours, _monitored(stand, ours) as said:
        worker.launch()
        try:
            worker.wait_ready(START_S)
            time.sleep(settle_s)
            begin = time.time()
            time.sleep(watched_s)
            open_now = {client["addr"] for client in stand.client.client_list()}
        finally:
            worker.terminate()
            worker.stop()
    return Recording(f"{NAME}@{HOST}", HOST, watched_s, _lines(said, begin, watched_s, open_now))


@contextmanager
def _other_worker(stand: Stand) -> Iterator[str]:
    """Note a worker that reconciles; yields the address of the connection that does so."""
    stop = threading.Event()
    client: Any = redis.Redis(port=stand.redis.port, single_connection_client=True)
    ours = client.client_info()["addr"]

    def note() -> None:
        now = time.time()
        client.set(RECONCILER, "the bench", ex=LOCK_S)
        client.zadd(ALIVE, {f"{VERSION} celery@bench": now})
        client.zadd(WORKERS, {"celery@bench": now})

    def hold() -> None:
        while not stop.wait(1):
            note()

    note()
    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield ours
    finally:
        stop.set()
        thread.join()
        client.delete(RECONCILER, ALIVE, WORKERS)
        client.close()


@contextmanager
def _monitored(stand: Stand, ours: str) -> Iterator[list[Said]]:
    """Collect what all but the bench says to Redis."""
    said: list[Said] = []
    others = {ours, stand.client.client_info()["addr"]}
    listener = socket.create_connection(("127.0.0.1", stand.redis.port))
    listener.sendall(command("MONITOR"))

    def listen() -> None:
        with listener.makefile("rb") as lines, suppress(OSError):
            for line in lines:
                found = _LINE.match(line.strip(b"+\r\n"))
                if found and (address := found[2].decode()) != "lua" and address not in others:
                    words = [_unescaped(word) for word in _WORD.findall(found[3])]
                    said.append(Said(float(found[1]), address, words))

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield said
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def _unescaped(word: bytes) -> bytes:
    def one(found: re.Match[bytes]) -> bytes:
        text = found[1]
        is_hex = text[:1] == b"x" and len(text) == 3
        return bytes([int(text[1:], 16)]) if is_hex else _ESCAPES.get(text, text)

    return _ESCAPED.sub(one, word)


def _lines(said: list[Said], begin: float, watched_s: float, open_now: set[str]) -> list[Line]:
    """Divide what was said into connections, and each into its start and its loop."""
    waiting = {one.address for one in said if one.words[0] in BLOCKING | SUBSCRIBING}
    # Two commands that met have opened another connection, which Redis closes: what it has said,
    # the one says that is used for all.
    asking = Counter(one.address for one in said if begin <= one.at < begin + watched_s)
    shared = max(open_now - waiting, key=lambda address: asking[address])
    kept = open_now & waiting | {shared}
    lines = {one.address: Line([], []) for one in said if one.address in kept}
    last: dict[str, float] = {}
    for one in said:
        name = one.words[0]
        if one.words[:2] in LEFT_OUT or one.at >= begin + watched_s:
            continue
        if one.address not in lines and name in BLOCKING | SUBSCRIBING:
            continue
        line = lines.get(one.address) or lines[shared]
        if one.at < begin:
            if name not in BLOCKING:
                line.start.append(one.words)
            continue
        if line.loop and one.at - last.get(one.address, 0) < PIPELINED_S:
            line.loop[-1][1].append(one.words)
        else:
            line.loop.append((one.at - begin, [one.words]))
        last[one.address] = one.at
    # Redis closes those on which nothing more is said.
    return [line for line in lines.values() if line.loop]
