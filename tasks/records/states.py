"""The state machine of an upload: its stages, its states, and every move between them.

This module is the reference. The scripts in ``lua/`` make the moves, and a model-based test checks
that they make no others (tests/chaos/machine.py). ``python -m tests.docs_tables`` writes the table
in docs/cli.md from here; a test compares the picture docs/img/states.svg with it.
"""

from __future__ import annotations

from typing import NamedTuple

#: The stages, in order. The chain, the priorities, the views and the scripts follow this tuple.
STAGES = ("compute_checksum", "get_put_metadata", "put_file", "create_component_location")

#: Each has a gate, which is a circuit breaker: while it is closed, probes alone are claimed.
SERVICES = ("ftrack", "store", "credentials")

STATES = {
    "pending": "A worker may claim it.",
    "active": "A worker is running a stage for it.",
    "retrying": "A stage failed for now; `error` says why. farmhaul tries again by itself.",
    "storing": "A sequence or a publish: its members are being sent, and nothing is visible yet.",
    "stored": "A member (a file of a sequence or publish): its bytes are in the media store.",
    "located": "The bytes are in the media store, and ftrack shows them.",
    "failed": "farmhaul does not try again; `error` says why. You must act.",
    "cancelled": "It was cancelled by `farmhaul cancel`.",
    "superseded": "Its component has a newer upload; for a publish, each of its members has.",
}

#: The states of uploads that people count: the files of publishes have an index of their own.
UPLOAD_STATES = tuple(state for state in STATES if state != "stored")

#: An upload in one of these still moves by itself; its record does not expire.
LIVE = ("pending", "active", "retrying", "storing")
#: An upload in one of these stays there until someone enqueues or retries it.
ENDED = ("stored", "located", "failed", "cancelled", "superseded")
#: Of these, the states of an upload that has ended as it was asked for.
DONE = ("stored", "located")

#: The states of ftrack's jobs for encodings that have not finished.
UNFINISHED_JOBS = ("queued", "running")

#: The score of a pending upload, lowest first: its priority (0 urgent, 1 normal, 2 low) times
#: the first step, plus the second unless it is a preview, plus milliseconds since 1970.
PRIORITY_STEP = 10**13
PREVIEW_STEP = 5 * 10**12


class Move(NamedTuple):
    """A move between two states: the scripts that make it, and why. "" is no record at all."""

    before: str
    after: str
    scripts: tuple[str, ...]
    why: str


MOVES = (
    Move("", "storing", ("enqueue",), "a sequence or a publish is enqueued"),
    Move("", "pending", ("enqueue",), "a file is enqueued"),
    Move("", "failed", ("enqueue",), "its component holds other files"),
    Move("", "superseded", ("enqueue",), "a spool is sent late, after a newer upload"),
    Move("pending", "active", ("deliver",), "a worker claims it"),
    Move("active", "located", ("settle", "cancel"), "the last stage is done"),
    Move("active", "stored", ("settle",), "for a member, its bytes are stored"),
    Move("active", "retrying", ("settle", "deliver"), "a stage failed for now"),
    Move("active", "failed", ("settle", "deliver", "start_run"), "a stage failed for good"),
    Move(
        "active",
        "pending",
        ("settle", "deliver", "reclaim", "find_lost"),
        "its claim was lost, or its batch was taken apart",
    ),
    Move("active", "storing", ("settle",), "for a publish, files of it are gone from ftrack"),
    Move("retrying", "pending", ("apply_due", "find_lost"), "its delay has passed"),
    Move(
        "storing",
        "pending",
        ("settle", "enqueue", "complete_publish", "retry_publish"),
        "all of its members are stored",
    ),
    Move(
        "storing",
        "failed",
        ("settle", "deliver", "start_run", "cancel", "complete_publish", "apply_due"),
        "one of its members failed, or not all of them were recorded within a day",
    ),
    *(Move(state, "cancelled", ("cancel",), "by `cancel`") for state in (*LIVE, "failed")),
    *(
        Move(state, "located", ("cancel",), "by `cancel`, if it was located and is retried")
        for state in LIVE
        if state != "active"
    ),
    *(
        Move(
            state,
            "superseded",
            ("enqueue", "settle", "complete_publish", "retry_publish"),
            "its component gets a newer upload",
        )
        for state in LIVE
    ),
    Move("failed", "superseded", ("enqueue",), "by `retry`, if its component has a newer upload"),
    *(Move(state, "pending", ("enqueue",), "by `enqueue` or `retry`") for state in ENDED),
    *(
        Move(state, "failed", ("enqueue",), "by `enqueue`, if its component holds other files now")
        for state in ENDED
        if state not in {"stored", "failed"}
    ),
    *(
        Move(
            state,
            "storing",
            ("enqueue", "retry_publish"),
            "by `enqueue` or `retry`, for a sequence or publish",
        )
        for state in ENDED
        if state != "stored"
    ),
)


def score(priority: int, *, is_preview: bool) -> int:
    """Return the score of a pending upload, without its time."""
    return priority * PRIORITY_STEP + (0 if is_preview else PREVIEW_STEP)


def priority_of(pending_score: float) -> int:
    """Return the priority of a pending upload: 0 for urgent."""
    return int(pending_score // PRIORITY_STEP)


def is_preview(pending_score: float) -> bool:
    """Return whether a pending upload is a preview, which people look at before the rest."""
    return pending_score % PRIORITY_STEP < PREVIEW_STEP


def enqueued_at(pending_score: float) -> float:
    """Return when a pending upload was enqueued, in seconds since 1970."""
    return pending_score % PREVIEW_STEP / 1000
