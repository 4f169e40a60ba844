"""Ctrl-C and its like: everything is taken down in order, whenever it comes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def heed_interrupts() -> None:
    """Have each signal raise KeyboardInterrupt; also SIGINT where a shell has it ignored."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Let Ctrl-C wait: a start that breaks off midway would leave a server to nobody."""
    came: list[int] = []
    for number in SIGNALS:
        signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        heed_interrupts()
    if came:
        raise KeyboardInterrupt


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
