"""From a context to a version that need not exist: what an entry may say about it."""

from __future__ import annotations

from tasks.intake.errors import BadInputError, listed, quoted
from tasks.transfer.targets import QUOTES, NewVersion, OfVersion, is_uuid, is_version_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tasks.intake.manifest import Entry

#: Keys that need a context.
NEEDED = ("asset", "asset_type")
#: Of the others, ftrack has ids too, but a version is made by names.
HAVE_IDS = ("context", "task")
OPTIONS = (*NEEDED, "version_key", "version_number", "task", "comment", "status")


def check_context(entry: Entry) -> None:
    """Check what an entry says about a version that need not exist.

    Raises:
        BadInputError: it breaks a rule.
    """
    context = entry.label("context")
    given = [entry.label(key) for key in OPTIONS if getattr(entry, key) is not None]
    if entry.context is None:
        if given:
            raise BadInputError(
                f"{entry.where}{listed(given)} {'need' if given[1:] else 'needs'} {context}, the "
                "project, shot or task that the asset is under"
            )
        return
    for key in ("component_id", "version_id"):
        if getattr(entry, key):
            raise BadInputError(
                f"{entry.where}{entry.path} has both {context} and {entry.label(key)}; use one of "
                "them"
            )
    for key in ("context", *NEEDED, "version_key", "task", "status"):
        _check_name(entry, key)
    if not all(map(str.strip, _segments(entry.context))):
        raise BadInputError(
            f"{entry.where}{context} {quoted(entry.context)} has an empty name in it; write "
            "PROJECT/SEQUENCE/SHOT, or an id"
        )
    if entry.version_number is not None:
        _check_number(entry, entry.version_number)


def _check_number(entry: Entry, number: str) -> None:
    label = entry.label("version_number")
    if not is_version_number(_without_zeros(number)):
        raise BadInputError(
            f"{entry.where}{label} {quoted(number)} is not the number of a version; ftrack counts "
            "them from 1, so write a number such as 7"
        )
    if entry.version_key is not None:
        raise BadInputError(
            f"{entry.where}{label} and {entry.label('version_key')} both tell versions apart; use "
            "one of them"
        )


def _without_zeros(number: str) -> str:
    return number.strip().lstrip("0")


def _check_name(entry: Entry, key: str) -> None:
    value, label = getattr(entry, key), entry.label(key)
    if value is None and key not in NEEDED:
        return
    if value is None or not value.strip():
        raise BadInputError(
            f"{entry.where}{label} is {'missing' if value is None else 'empty'}; a version is made "
            f"from {entry.label('context')}, {entry.label('asset')} and {entry.label('asset_type')}"
        )
    if not QUOTES.isdisjoint(value):
        step = "write / between names, " if key == "context" and "\\" in value else ""
        step += "use the id" if key in HAVE_IDS else "use another name"
        raise BadInputError(
            f"{entry.where}{label} {quoted(value)} has a quotation mark, a backslash or a line "
            f"break, which cannot be asked for; {step}, or rename it in ftrack"
        )


def new_version(entry: Entry) -> NewVersion | None:
    """Return the version that an entry describes by a context; None if it has none."""
    if entry.context is None:
        return None
    context, task = entry.context.strip(), (entry.task or "").strip()
    context = context.lower() if is_uuid(context) else "/".join(map(str.strip, _segments(context)))
    return NewVersion(
        context,
        str(entry.asset).strip(),
        str(entry.asset_type).strip(),
        (entry.version_key or "").strip(),
        task.lower() if is_uuid(task) else task,
        entry.comment or "",
        (entry.status or "").strip(),
        number="" if entry.version_number is None else _without_zeros(entry.version_number),
    )


def of_version(entry: Entry) -> OfVersion | None:
    """Return what an entry's version gets with its component; None if that is nothing.

    Raises:
        BadInputError: a name cannot be asked for.
    """
    for key in ("attributes", "lists", "review_sessions"):
        for name in getattr(entry, key):
            if not name.strip() or not QUOTES.isdisjoint(name):
                step = "use another attribute" if key == "attributes" else "use the id"
                raise BadInputError(
                    f"{entry.where}{entry.label(key)} {quoted(name)} is empty, or has a quotation "
                    f"mark, a backslash or a line break, which cannot be asked for; {step}"
                )
    found = OfVersion(
        tuple(sorted(entry.version_metadata.items())),
        tuple(sorted(entry.attributes.items())),
        tuple(entry.lists),
        tuple(entry.review_sessions),
    )
    return found if any(found) else None


def _segments(context: str) -> list[str]:
    return context.strip().strip("/").split("/")
