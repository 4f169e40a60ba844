"""Many files compared with what ftrack has, in threads: for the command, and for its tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Event

import requests

from tasks.config.remedies import explained
from tasks.config.settings import FtrackSettings
from tasks.stage.signer import signer
from tasks.stage.threads import STALLED_S, Threads, Unfinished, note_progress
from tasks.stage.tries import hung_text, tried
from tasks.transfer.compare import Compared, Pair, compare
from tasks.transfer.errors import FatalError, UploadError

OnResult = Callable[[int, Compared], None]


def compare_all(
    pairs: Mapping[int, Pair],
    threads: Threads,
    ftrack: FtrackSettings,
    store: requests.Session,
    *,
    roots: Sequence[str],
    download: bool,
    stop: Event,
    on_result: OnResult,
    before_call: Callable[[], None] = lambda: None,
) -> None:
    """Compare files, each of which has a number, and call ``on_result`` in any thread.

    It is not called for files that are given back, because other files hang or a worker shuts down.
    Once *stop* is set, every file that has not ended is not readable.
    """
    sign = signer(ftrack, store, before_call)

    def on_block() -> None:
        note_progress()
        if stop.is_set():
            raise FatalError("interrupted")

    def compared(pair: Pair) -> Compared:
        return compare(pair, sign, store, roots=roots, download=download, on_block=on_block)

    def act(number: int) -> None:
        try:
            outcome = tried(lambda: compared(pairs[number]), stop)
        except UploadError as error:
            outcome = Compared("not readable", why=explained(error))
        note_progress()  # one that was left behind has been reported
        on_result(number, outcome)

    numbers = [*pairs]
    try:
        ended = threads.run(numbers, act, lambda _: STALLED_S)
    except BaseException:
        stop.set()
        raise
    for number, outcome in zip(numbers, ended, strict=True):
        if isinstance(outcome, Unfinished) and outcome.why != "given back":
            on_result(number, Compared("not readable", why=hung_text(outcome, "reading it")))
