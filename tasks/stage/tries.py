"""How often files are tried that no record counts the tries of: ``fetch`` and ``check``."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from tasks.stage.retry_policy import (
    DOWNLOAD_COMMAND_OTHER,
    DOWNLOAD_COMMAND_OUTAGE,
    full_jitter,
)
from tasks.stage.threads import Unfinished, note_progress
from tasks.transfer.errors import (
    CredentialsRefusedError,
    FatalError,
    OwnSettingsError,
    RetryableError,
    ServiceUnavailableError,
)
from tasks.transfer.part_file import BeingFetchedError

T = TypeVar("T")

NOT_BEGUN = "not begun, because other files hang; run the command again later"


def tried(act: Callable[[], T], stop: Event, tell: Callable[[str], object] | None = None) -> T:
    """Call ``act`` until it succeeds, it fails for good, or its tries are used up.

    ``tell`` gets a line for people, once, if it has to wait.

    Raises:
        UploadError: an error that another try would not fix.
        FatalError: the tries are used up, or *stop* is set.
    """
    tries: Counter[bool] = Counter()
    while True:
        note_progress()
        asked_s = 0.0
        try:
            return act()
        except BeingFetchedError:
            stop.wait(1)  # the other process may take hours
            if stop.is_set():
                raise FatalError("interrupted") from None
            continue
        except CredentialsRefusedError:
            raise
        except RetryableError as error:
            is_outage = isinstance(error, ServiceUnavailableError)
            policy = DOWNLOAD_COMMAND_OUTAGE if is_outage else DOWNLOAD_COMMAND_OTHER
            tries[is_outage] += 1
            if stop.is_set() or tries[is_outage] >= policy.max_tries:
                if isinstance(error, OwnSettingsError):
                    raise
                raise FatalError(
                    f"{_facts(error)}; gave up after {tries.total()} tries, "
                    "so run the command again later"
                ) from None
            if tell is not None and tries.total() == 1:
                tell(f"{_facts(error)}; trying again")
            asked_s = min(getattr(error, "retry_after_s", None) or 0.0, policy.cap_s)
        _wait(asked_s + full_jitter(tries.total() - 1, policy, random.random()), stop)


def _facts(error: RetryableError) -> str:
    """Return what has happened: unlike a stage, a command does not try again by itself."""
    text = str(error)
    return text.rpartition("; ")[0] or text


def hung_text(outcome: Unfinished, doing: str) -> str:
    """Return why a file has not ended; ``doing`` is what was done with it."""
    if outcome.why == "given back":
        return NOT_BEGUN
    hangs_in = doing if outcome.why == "file" else f"the {outcome.why}"
    return f"{hangs_in} hangs: nothing has moved for {outcome.silent_s:.0f} s"


def _wait(seconds: float, stop: Event) -> None:
    """Wait between two tries, which is no hanging."""
    end = time.monotonic() + seconds
    while (left_s := end - time.monotonic()) > 0 and not stop.wait(min(left_s, 1.0)):
        note_progress()
