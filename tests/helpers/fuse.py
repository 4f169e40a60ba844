"""A file system that does not answer: every read of a file in it waits in state D, unkillable.

    python -m tests.helpers.fuse FOLDER           mounts it, until stdin is closed
    python -m tests.helpers.fuse FOLDER ESTALE    one on which every call fails with this error
    python -m tests.helpers.fuse FOLDER SILENCE   one that answers no call at all

It speaks FUSE's own protocol (linux/fuse.h), so that it needs no library. It has one file.
It takes the requests to read it, and answers none: a request that has been taken
cannot be interrupted. It goes by any name that begins with "hang".
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NAME = b"hang"
SIZE = 20_000
FOLDER_ID, FILE_ID = 1, 2
LOOKUP, GETATTR, OPEN, READ, INIT, OPENDIR = 1, 3, 14, 15, 26, 27
FORGET, BATCH_FORGET, INTERRUPT = 2, 42, 36
SILENT = {READ, FORGET, BATCH_FORGET, INTERRUPT}
IN_HEADER = struct.Struct("<IIQQIIII")
MNT_DETACH = 2


def attributes(node: int) -> bytes:
    mode = stat.S_IFDIR | 0o755 if node == FOLDER_ID else stat.S_IFREG | 0o644
    size = 0 if node == FOLDER_ID else SIZE
    times = (1_700_000_000,) * 3 + (0,) * 3
    return struct.pack("<QQQQQQIIIIIIIIII", node, size, 40, *times, mode, 1, 0, 0, 0, 4096, 0)


def answer(opcode: int, node: int, body: bytes) -> bytes | int:
    """Return the body of an answer, or an error number."""
    if opcode == INIT:
        # Version 7.31, no flags: the kernel then knows the short form of everything else.
        return struct.pack("<IIIIHHIIHHIIIIII", 7, 31, 65536, 0, 12, 9, 65536, 1, 0, 0, *[0] * 6)
    if opcode == LOOKUP:
        if not body.startswith(NAME):
            return errno.ENOENT
        return struct.pack("<QQQQII", FILE_ID, 0, 3600, 3600, 0, 0) + attributes(FILE_ID)
    if opcode == GETATTR:
        return struct.pack("<QII", 3600, 0, 0) + attributes(node)
    if opcode in {OPEN, OPENDIR}:
        return struct.pack("<QII", 1, 0, 0)
    return errno.ENOSYS


def serve(folder: str, error: str = "") -> None:
    error_number = getattr(errno, error, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if libc.mount(b"hang", folder.encode(), b"fuse.hang", 0, options):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), folder)
    print("mounted", flush=True)
    try:
        while True:
            ready, _, _ = select.select([device, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            request = os.read(device, 1 << 20)
            _, opcode, unique, node, *_ = IN_HEADER.unpack_from(request)
            if opcode in SILENT or (error == "SILENCE" and opcode != INIT):
                continue
            body = answer(opcode, node, request[IN_HEADER.size :])
            if error_number and opcode != INIT:
                body = error_number
            code, content = (-body, b"") if isinstance(body, int) else (0, body)
            os.write(device, struct.pack("<IiQ", 16 + len(content), code, unique) + content)
    finally:
        # Its end is an error for all who wait: nothing is left behind in state D.
        libc.umount2(folder.encode(), MNT_DETACH)
        os.close(device)


def can_mount() -> bool:
    """Return whether this process may mount it; only root may."""
    return os.geteuid() == 0 and os.access("/dev/fuse", os.W_OK)


@contextmanager
def mounted(folder: str, error: str = "") -> Iterator[None]:
    """Mount it in a process of its own; with an *error*, ESTALE or SILENCE, each call ends so."""
    command = [sys.executable, "-m", "tests.helpers.fuse", folder, *filter(None, [error])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        assert server.stdout.readline() == b"mounted\n"
        yield
        server.stdin.close()
        server.wait(20)


if __name__ == "__main__":
    serve(*sys.argv[1:])
