"""Runs on Windows: what the spool does with files, each step by its name; prints JSON."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from tasks.intake import disk
from tasks.intake.spool import Spool

BODY = b'{"path":"P:/sh010/\\u00fc.exr"}\nsecond line\r\n'


def kept(folder: str) -> object:
    """Keep a request and a manifest; what waits then, and what can be read."""
    spool = Spool(folder)
    paths = [spool.keep(BODY), spool.keep_manifest(BODY)]
    before = spool.waiting()
    settled = spool.settle(paths)
    same = [spool.read(path)[0] == BODY for path in settled]
    spool.check_owner()
    return {"before": before, "same": same, "as settled": spool.waiting() == settled}


def sent(folder: str) -> object:
    """Discard all that waits, and put one file aside twice."""
    spool = Spool(folder)
    first, *others = spool.waiting()
    spool.discard(others)
    spool.put_aside(first)
    disk.write_new(folder, BODY, ".json")
    spool.put_aside(spool.waiting()[0])
    return [len(spool.waiting()), len(spool.unreadable())]


def moved_over_an_open_file(folder: str) -> object:
    """Rename over a file that is open for a moment, and over one that stays open."""
    target = Path(folder, "target")
    target.write_bytes(b"old")
    with target.open("rb") as scanner:
        closing = threading.Timer(disk.TRY_AGAIN_S * 1.5, scanner.close)
        closing.start()
        disk.move(disk.write_new(folder, b"new", ".new"), str(target))
        closing.join()
    with target.open("rb"):
        try:
            disk.move(disk.write_new(folder, b"newer", ".new"), str(target))
        except PermissionError:
            return target.read_text()
    return "a file that stays open was replaced"


def locked(folder: str) -> object:
    """Lock the folder, then again while it is locked, then again after that."""
    first = disk.lock(folder)
    second = disk.lock(folder)
    assert first is not None
    os.close(first)
    third = disk.lock(folder)
    return [second is None, third is not None]


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](sys.argv[2])))
