"""The command ``farmhaul``: hooks call it to upload files, operators to see and steer uploads.

A hook runs it for every frame, so the commands of hooks are started here, before anything is
imported that only the others need. Nothing here may write a record by itself: commands call
``tasks`` and print the result.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from tasks.intake.command import Wait

HOOK_COMMANDS = {"enqueue", "flush-spool"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit; an error becomes lines on stderr and an exit code."""
    if arguments is None:
        from tasks.intake.utf8 import begin_in_utf8

        begin_in_utf8()
    _make_writable()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in HOOK_COMMANDS:
        from tasks.intake import command
        from tasks.intake.exit_codes import leave

        code = command.main(given, _prepare_wait)
        if arguments is None:  # this process has nothing else to do
            leave(code)
        sys.exit(code)
    from workers.cli import group

    sys.exit(group.main(given))


def _make_writable() -> None:
    """Let all text be written: to a stream that is closed, or in a locale that lacks a letter."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 until exit
        elif hasattr(stream, "reconfigure") and _encoding_of(stream) not in {"utf-8", "utf8"}:
            stream.reconfigure(errors="backslashreplace")


def _encoding_of(stream: TextIO) -> str:
    """Return the encoding; what a program has put in place of a stream may have none."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("_", "-")


def _prepare_wait() -> Wait:
    from workers.cli.waiting import prepare

    return prepare()
