"""Which keys of an entry go together: its target, and the options of a component."""

from __future__ import annotations

from tasks.intake.errors import BadInputError, listed, printable, quoted
from tasks.transfer.names import file_type, name_fault
from tasks.transfer.targets import is_uuid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tasks.intake.manifest import Entry
    from tasks.intake.notation import Frames

IDS = ("component_id", "version_id", "task_id")
#: Keys that need a component that is created, not one that exists.
COMPONENT_OPTIONS = (
    "name", "thumbnail", "task_id", "encode", "encode_only", "reviewable", "publish",
    "version_metadata", "attributes", "lists", "review_sessions",
)  # fmt: skip
#: Keys that only a reviewable file has.
REVIEW_OPTIONS = ("frame_range", "fps", "resolution")
#: Keys that need a single file, not a sequence.
FILE_OPTIONS = ("thumbnail", "encode", "encode_only", "reviewable")
#: Keys of a file that stays in ftrack.
KEPT_OPTIONS = ("thumbnail", "reviewable")
#: Keys of a file whose bytes are in ftrack.server.
UPLOADED_OPTIONS = ("also_in", "thumbnail", "encode", "encode_only", "reviewable")
#: Pictures that every browser shows.
THUMBNAIL_TYPES = (".gif", ".jpeg", ".jpg", ".png")


def check_entry(entry: Entry) -> None:
    """Check that an entry has one valid target, and only keys that go together.

    Raises:
        BadInputError: the entry breaks a rule.
    """
    for key in IDS:
        value = getattr(entry, key)
        if value is not None and not is_uuid(value):
            raise BadInputError(
                f"{entry.where}{entry.label(key)} {quoted(value)} is not a UUID; "
                "copy the id from ftrack"
            )
    component_id, version_id = entry.label("component_id"), entry.label("version_id")
    if entry.component_id and entry.version_id:
        raise BadInputError(
            f"{entry.where}{entry.path} has both {component_id} and {version_id}; use one of them"
        )
    if not entry.component_id and not entry.version_id:
        raise BadInputError(
            f"{entry.where}{entry.path} has no target; give {component_id} (a component "
            f"that exists) or {version_id} (to create a component under a version), or "
            f"{entry.label('context')} (to create the version, too)"
        )
    given = _given(entry, COMPONENT_OPTIONS)
    if entry.component_id and given:
        raise BadInputError(
            f"{entry.where}{listed(given)} {'need' if given[1:] else 'needs'} {version_id}; "
            f"{'they' if given[1:] else 'it'} cannot be used with {component_id}"
        )
    if entry.task_id and not entry.thumbnail:
        raise BadInputError(
            f"{entry.where}{entry.label('task_id')} needs {entry.label('thumbnail')}; it names the "
            "task that gets the thumbnail too"
        )
    given = _given(entry, KEPT_OPTIONS)
    if entry.encode_only and given:
        raise BadInputError(
            f"{entry.where}{entry.label('encode_only')} cannot be used with {listed(given)}: "
            "ftrack deletes the file when it has encoded it"
        )
    check_locations(entry)
    given = _given(entry, REVIEW_OPTIONS)
    if given and not entry.reviewable:
        raise BadInputError(
            f"{entry.where}{listed(given)} {'need' if given[1:] else 'needs'} "
            f"{entry.label('reviewable')}; for a sequence, write its frames into the path: "
            "f.%04d.exr [1001-1240]"
        )


def check_locations(entry: Entry) -> None:
    """Check the locations of an entry, as far as a hook can: a worker asks ftrack for them.

    Raises:
        BadInputError: one has no name, or it does not go with the other keys.
    """
    for key in ("also_in", "only_in"):
        value = getattr(entry, key)
        if value is not None and not value.strip():
            raise BadInputError(
                f"{entry.where}{entry.label(key)} is empty; write the name or the id of a location "
                "in ftrack, such as ftrack.unmanaged"
            )
    given = _given(entry, UPLOADED_OPTIONS)
    if entry.only_in is not None and given:
        raise BadInputError(
            f"{entry.where}{entry.label('only_in')} cannot be used with {listed(given)}: "
            "nothing is uploaded"
        )
    if entry.also_in is not None and entry.encode_only:
        raise BadInputError(
            f"{entry.where}{entry.label('also_in')} cannot be used with "
            f"{entry.label('encode_only')}: ftrack deletes the component when it has encoded it"
        )


def check_thumbnail(entry: Entry, path: str) -> None:
    """Check that the file of an entry, if it becomes a thumbnail, is a picture that shows.

    Raises:
        BadInputError: ftrack and browsers show nothing for a file of its type.
    """
    if entry.thumbnail and file_type(path).lower() not in THUMBNAIL_TYPES:
        raise BadInputError(
            f"{entry.where}{path} would show nothing as a thumbnail, which must be one of "
            f"{', '.join(THUMBNAIL_TYPES)}; convert it, or leave out {entry.label('thumbnail')}"
        )


def check_sequence(entry: Entry, frames: Frames) -> None:
    """Check that an entry which is a sequence has no keys of a single file.

    Raises:
        BadInputError: the entry breaks a rule.
    """
    given = _given(entry, FILE_OPTIONS)
    if given:
        raise BadInputError(
            f"{entry.where}{listed(given)} cannot be used with a sequence, and "
            f"{frames.pattern} is one; upload a movie or a still for that"
        )


def check_fetchable(entry: Entry, written: str) -> None:
    """Check that ``fetch`` can give a file back.

    Args:
        entry: the upload.
        written: the name under which ``fetch`` would write the file, or its last frame.

    Raises:
        BadInputError: no file may have this name.
    """
    if why := name_fault(written):
        raise BadInputError(
            f"{entry.where}{printable(entry.path)} could not be fetched again, because its name "
            f"there would be {quoted(written)}, which {why}; set another {entry.label('name')}"
        )


def _given(entry: Entry, keys: tuple[str, ...]) -> list[str]:
    # An empty text counts as given: a hook's variable may be empty by mistake.
    return [
        entry.label(key) for key in keys if getattr(entry, key) not in (None, False, {}, (), [])
    ]
