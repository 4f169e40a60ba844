"""Who has retried or cancelled an upload: noted in its record, for people."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import NamedTuple

import redis

from tasks.config.sealing import Codec
from tasks.records.numbers import LATEST_S, number
from tasks.records.scripts import Scripts

#: What somebody does to an upload, as the state or the event that it leads to.
RETRIED, CANCELLED = "retried", "cancelled"
#: So many are kept, the latest ones.
KEPT = 5


class Act(NamedTuple):
    """When (seconds since 1970) somebody did what; ``who`` proves nothing."""

    at: float
    what: str
    who: str


def note(scripts: Scripts, upload_id: str, what: str, who: str) -> None:
    """Note in the record of an upload who has done something to it.

    A Redis that takes no note, for example a full one, is no error: what was done is done.
    """
    with suppress(redis.ResponseError):
        sealed = scripts.codec.seal_text(who)
        scripts.run("note_act", id=upload_id, what=what, who=sealed, kept=KEPT)


def acts_of(text: str, codec: Codec) -> tuple[Act, ...]:
    """Return what a record says that people have done, the oldest first."""
    # Anybody who can write to Redis can put anything there.
    with suppress(ValueError, TypeError, LookupError, RecursionError):
        return tuple(
            Act(number(at, 0.0, LATEST_S), what, codec.unseal_text(str(who)))
            for at, what, who in json.loads(text or "[]")[-KEPT:]
            if what in {RETRIED, CANCELLED}
        )
    return ()
