"""The exit codes of farmhaul's commands; docs/cli.md says what a hook does with each."""

from __future__ import annotations

import os
import sys

from tasks.config.texts import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

FAULT = 1
"""A fault was found: by ``doctor``, by ``check``, or by the health check of a worker.

Or the output of a command cannot be written.
"""
BAD_INPUT = 2
"""The arguments, a manifest or the environment cannot be used; nothing was queued."""
NO_REDIS = 3
"""Redis is unreachable or full, and there is no spool."""
FAILED = 4
"""An upload or a download failed, or ``--timeout`` came first."""
INTERRUPTED = 130
"""Ctrl-C, as shells count signals: 128 + SIGINT."""


def say(text: object) -> None:
    """Write lines to stderr, each after ``farmhaul: ``; a terminal gets no control character."""
    for line in str(text).splitlines():
        print(f"farmhaul: {visible(line)}", file=sys.stderr)  # noqa: T201 for people, with or without logs


def complain(error: object, code: int) -> int:
    """Write an error to stderr, each line after ``farmhaul: ``; return the code."""
    say(error)
    return code


def leave(code: int) -> NoReturn:
    """Exit at once, because taking all modules down costs a hook a third of an empty Python."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            continue  # nobody reads it any more
    os._exit(code)
