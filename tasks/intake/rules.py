"""What of an entry goes with what: its target, and the options that describe a component."""

from __future__ import annotations

from tasks.intake.manifest import BadInputError, Entry, quoted
from tasks.intake.notation import Frames
from tasks.intake.request import UUID

#: What goes with a component that is made, and not with one that exists.
COMPONENT_OPTIONS = ("name", "thumbnail", "task_id", "encode", "reviewable", "metadata", "publish")
#: What a review needs to know, and nothing else does.
REVIEW_OPTIONS = ("frame_range", "fps", "resolution")
#: What goes with a single file, and not with a sequence.
FILE_OPTIONS = ("thumbnail", "encode", "reviewable")


def check_entry(entry: Entry) -> None:
    """Refuse targets that are none, and options without what they belong to."""
    ids = (
        ("component", entry.component_id),
        ("version", entry.version_id),
        ("task", entry.task_id),
    )
    for what, value in ids:
        if value is not None and not UUID.fullmatch(value):
            raise BadInputError(
                f"{entry.where}{what} id {quoted(value)} is not a UUID; copy it from ftrack"
            )
    if entry.component_id and entry.version_id:
        raise BadInputError(
            f"{entry.where}{entry.path} has both a component and a version; give one of them"
        )
    if not entry.component_id and not entry.version_id:
        raise BadInputError(
            f"{entry.where}{entry.path} has no target; give a component id "
            "(a component that exists) or a version id (to create one under it)"
        )
    given = [name for name in COMPONENT_OPTIONS if getattr(entry, name) not in (None, False, {})]
    if entry.component_id and given:
        raise BadInputError(
            f"{entry.where}{' and '.join(given)} of {entry.path} go with a version id, "
            "not with a component that exists"
        )
    if entry.task_id and not entry.thumbnail:
        raise BadInputError(
            f"{entry.where}a task id tells whose thumbnail {entry.path} becomes; say thumbnail too"
        )
    given = [name for name in REVIEW_OPTIONS if getattr(entry, name) is not None]
    if given and not entry.reviewable:
        raise BadInputError(
            f"{entry.where}{' and '.join(given)} of {entry.path} are for a review; say reviewable "
            "too, or leave them out. A sequence has its frames in its path: f.%04d.exr [1001-1240]"
        )
    if entry.reviewable and entry.name is not None:
        raise BadInputError(
            f"{entry.where}{entry.path} is reviewable, so ftrack's player wants a name of its own "
            f"for it; leave out the name {quoted(entry.name)}"
        )


def check_sequence(entry: Entry, frames: Frames) -> None:
    """Refuse a sequence for what takes a single file."""
    if not entry.version_id:
        raise BadInputError(
            f"{entry.where}{frames.pattern} is a sequence; it goes under a version id, which gets "
            "a component for it. Of one that exists, enqueue each frame with its own component id"
        )
    given = [name for name in FILE_OPTIONS if getattr(entry, name)]
    if given:
        raise BadInputError(
            f"{entry.where}{' and '.join(given)} goes with a single file, and {frames.pattern} is "
            "a sequence; enqueue a movie or a still of it beside, in the same publish"
        )
