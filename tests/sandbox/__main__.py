"""``python -m tests.sandbox``: run the whole sandbox for another terminal."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import sys
import tempfile
import threading
from pathlib import Path

from . import Sandbox, seed


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.sandbox",
        description="Start ftrack, its store and Redis, print what to export, and stop on Ctrl-C.",
    )
    parser.add_argument("--keep-data", metavar="DIR", type=Path, help="folder to keep")
    parser.add_argument(
        "--no-store-proxy",
        action="store_true",
        help="sign URLs for the store itself: faster, but without faults and journal",
    )
    arguments = parser.parse_args()

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())

    with contextlib.ExitStack() as stack:
        folder = arguments.keep_data
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sandbox-")))
        sandbox = Sandbox(folder, store_proxy=not arguments.no_store_proxy)
        stack.enter_context(sandbox)
        for name, value in sandbox.env.items():
            print(f"export {name}={shlex.quote(value)}")
        print(f"export VERSION_ID={sandbox.ftrack.version_id}  # to upload to")
        print(f"export TASK_ID={seed.TASK_ID}")
        print(f"# put files to upload below: {sandbox.storage}", flush=True)
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
