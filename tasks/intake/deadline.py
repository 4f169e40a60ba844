"""Deadlines for what a hook waits for: the network, and file systems."""

from __future__ import annotations

import _thread
import time

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
    """A file system does not answer; the text is the path."""


def looking_at(path: str) -> None:
    """Note that a path on a file system is about to be looked at, which may hang."""
    _looks[0] = path
    _looks[1] += 1  # type: ignore[operator]


def look(act: Callable[[], T], hung_s: float = 0.0) -> T:
    """Call a function that looks at files, in a thread: nothing can end a call that hangs.

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
    looks, silent, poll_s = _looks[1], 0.0, min(POLL_S, hung_s)
    while not running.acquire(timeout=poll_s):
        silent = silent + poll_s if _looks[1] == looks else 0.0
        looks = _looks[1]
        if silent >= hung_s:
            raise HungError(_looks[0])
    [(result, error)] = outcome
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


class Deadline:
    """A moment by which something must be done."""

    def __init__(self, within_s: float) -> None:
        self._moment = time.monotonic() + within_s

    @property
    def is_over(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self._moment

    def left_s(self) -> float:
        """Return the seconds that are left.

        Raises:
            TimeoutError: none are.
        """
        left_s = self._moment - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no answer in time")
        return left_s

    def share(self, of: int) -> Deadline:
        """Return an earlier deadline, so that one of several tries cannot use up all of it."""
        return Deadline(self.left_s() / of)
