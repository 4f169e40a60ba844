"""A store that drops every body: ``python -m tests.bench.sink.store PORT``.

The ETag of a PUT is its Content-MD5, as from a store that has checked it. A GET returns as many
zeros as were put there.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import sys
import threading
import time
from dataclasses import asdict, dataclass

from .server import Connection, Request, Server

_XML = "Content-Type: application/xml\r\n"
_OPENED = (
    b"<InitiateMultipartUploadResult><UploadId>bench</UploadId></InitiateMultipartUploadResult>"
)
_JOINED = b"<CompleteMultipartUploadResult><ETag>bench</ETag></CompleteMultipartUploadResult>"


@dataclass
class Stats:
    """The counts since the last reset; times are those of ``time.monotonic``."""

    puts: int = 0
    bytes: int = 0
    first_put: float = 0.0
    last_put: float = 0.0
    under_way: int = 0
    most_under_way: int = 0


@functools.cache
def md5_of_zeros(size_bytes: int) -> str:
    """Return the hex MD5 of so many zeros."""
    return hashlib.md5(bytes(size_bytes), usedforsecurity=False).hexdigest()


class Store:
    """As much of S3 as signed PUTs and uploads of boto3 need."""

    def __init__(self) -> None:
        self.stats = Stats()
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}

    def reset(self) -> None:
        self.stats = Stats()
        self._sizes.clear()

    def handle(self, request: Request, connection: Connection) -> None:
        key = request.target.partition("?")[0]
        if request.method == "GET":
            size_bytes = self._sizes.get(key, 0)
            connection.give(size_bytes, f'ETag: "{md5_of_zeros(size_bytes)}"\r\n')
            return
        if request.method != "PUT":
            connection.read(request.length)
            opens = request.target.endswith("?uploads")
            connection.answer(_OPENED if opens else _JOINED, _XML)
            return
        self._began()
        self._sizes[key] = request.length
        connection.drop(request.length)
        md5 = request.headers.get("content-md5", "")
        etag = base64.b64decode(md5).hex() if md5 else "0" * 32
        self._read(request.length)
        connection.answer(headers=f'ETag: "{etag}"\r\n')
        self._answered()

    def _began(self) -> None:
        with self._lock:
            stats = self.stats
            stats.first_put = stats.first_put or time.monotonic()
            stats.under_way += 1
            stats.most_under_way = max(stats.most_under_way, stats.under_way)

    def _read(self, size_bytes: int) -> None:
        with self._lock:
            stats = self.stats
            stats.puts += 1
            stats.bytes += size_bytes
            stats.last_put = time.monotonic()

    def _answered(self) -> None:
        with self._lock:
            self.stats.under_way -= 1


def main() -> None:
    store = Store()
    Server(store.handle, lambda: asdict(store.stats), store.reset).serve(int(sys.argv[1]))


if __name__ == "__main__":
    main()
