"""Ctrl-C and similar signals: everything is stopped in order, whenever one arrives."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def raise_on_interrupts() -> None:
    """Have each signal raise KeyboardInterrupt, even if a shell had SIGINT ignored."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)


@contextmanager
def interrupts_delayed() -> Iterator[None]:
    """Delay Ctrl-C: a start that is interrupted midway would leave a server behind."""
    came: list[int] = []
    for number in SIGNALS:
        signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        raise_on_interrupts()
    if came:
        raise KeyboardInterrupt


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
