"""Calls that may never return, such as a look at a file on a dead mount, and how to go on."""

from __future__ import annotations

import _thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

#: A file system that has not answered for this long hangs.
HUNG_S = 20.0
POLL_S = 1.0

#: What was looked at, and how often.
_looks = ["", 0]


class HungError(Exception):
    """A call has not returned; the text is the path that was looked at last."""


def looking_at(path: str) -> None:
    """Note that a path on a file system is about to be looked at, which may hang."""
    _looks[0] = path
    _looks[1] += 1  # type: ignore[operator]


def look(act: Callable[[], T], hung_s: float = 0.0) -> T:
    """Call a function in a thread, because nothing else can be left behind when it hangs.

    Raises:
        HungError: it has not looked at another path for *hung_s*, by default HUNG_S.
    """
    hung_s = hung_s or HUNG_S
    outcome: list[tuple[T | None, BaseException | None]] = []
    running = _thread.allocate_lock()
    running.acquire()

    def run() -> None:
        try:
            outcome.append((act(), None))
        except BaseException as error:  # noqa: BLE001 raised again by who waits
            outcome.append((None, error))
        running.release()

    try:
        _thread.start_new_thread(run, ())
    except RuntimeError:  # this user may run no more threads
        return act()
    looks, silent_s = _looks[1], 0.0
    while not running.acquire(timeout=min(POLL_S, hung_s - silent_s)):
        silent_s += min(POLL_S, hung_s - silent_s)
        if _looks[1] != looks:
            looks, silent_s = _looks[1], 0.0
        elif silent_s >= hung_s:
            raise HungError(_looks[0])
    [(result, error)] = outcome
    if error is not None:
        raise error
    return result  # type: ignore[return-value]
