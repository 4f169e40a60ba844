"""The least that this machine needs for one large file: MD5 and send, on two cores.

Two running processes take the parts in turn: each reads a part once into a buffer, hashes it, and
sends it from there through a bare socket. There is no signing, no record and no queue, and
nothing checks whether the file has changed.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from urllib.parse import urlsplit

from tests.bench.rivals.job import Job, run

PROCESSES = 2
PART_BYTES = 8 << 20  # the size that farmhaul chooses for a file of 1 GiB


def prepare(job: Job) -> Callable[[], None]:
    context = get_context("fork")
    port = urlsplit(job.store_url).port
    pipes = []
    for number in range(PROCESSES):
        ours, theirs = context.Pipe()
        context.Process(target=_work, args=(theirs, job.files, port, number), daemon=True).start()
        assert ours.recv() == "ready"
        pipes.append(ours)

    def upload() -> None:
        for pipe in pipes:
            pipe.send("go")
        for pipe in pipes:
            assert pipe.recv() == "done"

    return upload


def _work(pipe: Pipe, files: tuple[str, ...], port: int, number: int) -> None:
    buffer = memoryview(bytearray(PART_BYTES))
    with socket.create_connection(("127.0.0.1", port)) as sock:
        pipe.send("ready")
        pipe.recv()
        for path in files:
            with open(path, "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                for offset in range(number * PART_BYTES, size, PROCESSES * PART_BYTES):
                    count = os.preadv(file.fileno(), [buffer], offset)
                    _put(sock, path, offset // PART_BYTES + 1, buffer[:count])
        pipe.send("done")


def _put(sock: socket.socket, path: str, part: int, block: memoryview) -> None:
    md5 = base64.b64encode(hashlib.md5(block, usedforsecurity=False).digest()).decode()
    head = (
        f"PUT /floor{path}?partNumber={part} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-MD5: {md5}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    sock.sendall(head.encode())
    sock.sendall(block)
    answer = sock.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200"), answer


if __name__ == "__main__":
    run(prepare)
