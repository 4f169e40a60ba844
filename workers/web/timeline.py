"""The timeline of an upload: what its record tells about what happened, and when."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from tasks.config.sealing import UNREADABLE, Codec
from tasks.records import acts
from tasks.records.numbers import LATEST_S, number
from tasks.records.states import STAGES
from tasks.records.upload_state import UploadState


class Event(NamedTuple):
    """A line of a timeline: when, what, and more about it; all for people."""

    at: float
    what: str
    more: str = ""


def events_of(upload: UploadState, fields: Mapping[str, str], codec: Codec) -> list[Event]:
    """Return the events of an upload, the oldest first; ``fields`` are those of its record."""
    events = sorted([*_asked(upload), *_moves(upload, fields, codec)], key=lambda event: event.at)
    if upload.state == "retrying" and upload.due:
        events.append(Event(upload.due, "next try"))
    return events


def _asked(upload: UploadState) -> Iterator[Event]:
    yield Event(upload.created, "taken in by a worker")
    if upload.asked:
        who = " on ".join(filter(None, (upload.asked_user, upload.asked_host)))
        yield Event(upload.asked, "asked for", f"by {who}" if who else "")


def _moves(upload: UploadState, fields: Mapping[str, str], codec: Codec) -> Iterator[Event]:
    for place, stage in enumerate(STAGES, start=1):
        if at := number(fields.get(f"at:{place}"), 0.0, LATEST_S):
            what = "claimed, and " if place == 1 else ""
            yield Event(at, f"{what}{stage} began")
    yield from _failed_tries(fields.get("log", ""), codec)
    by = [Event(act.at, act.what, f"by {act.who}") for act in upload.acts]
    if upload.state == acts.CANCELLED and by and by[-1].what == acts.CANCELLED:
        # The record has moved just before the note was made.
        by[-1] = by[-1]._replace(at=upload.updated)
    elif upload.state in {"failed", "cancelled", "superseded", "stored"}:
        yield Event(upload.updated, upload.state)
    yield from by
    if located := number(fields.get("located"), 0.0, LATEST_S):
        yield Event(located, "located", "ftrack shows it")


def _failed_tries(log: str, codec: Codec) -> list[Event]:
    # Anybody who can write to Redis can put anything there.
    with suppress(ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return [
            Event(
                number(at, 0.0, LATEST_S),
                f"{STAGES[int(stage) - 1]} failed on {node}",
                f"{kind}: {_unsealed(error, codec)}",
            )
            for at, stage, node, kind, error in json.loads(log or "[]")
        ]
    return []


def _unsealed(error: str, codec: Codec) -> str:
    text = codec.unseal_text(str(error))
    return "(sealed with another key)" if text == UNREADABLE else text
