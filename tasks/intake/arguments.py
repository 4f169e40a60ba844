"""From the arguments of ``enqueue`` to the components that they name."""

from __future__ import annotations

import os
import sys

from tasks.config.hook_settings import HookSettings
from tasks.config.texts import NotTextError, decode_text, visible
from tasks.intake.build import Options, build_components
from tasks.intake.errors import BadInputError
from tasks.intake.manifest import Entry, read_manifest
from tasks.intake.request import PRIORITIES
from tasks.transfer.hanging import HUNG_S, HungError, look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tasks.intake.build import Component

#: The options that say what to do with a single upload: a manifest has keys for them.
UPLOAD_OPTIONS = (
    "component_id", "version_id", "name", "thumbnail", "task_id", "encode", "encode_only",
    "reviewable",
    "frame_range", "fps", "resolution", "metadata", "replace", "prune", "also_in", "only_in",
    "context", "asset", "asset_type", "version_key", "version_number", "task", "comment", "status",
    "version_metadata", "attribute", "list", "review_session",
)  # fmt: skip
#: The options of which each is a key and a value, and those whose keys are in the plural.
PAIRS = ("metadata", "version_metadata", "attribute")
PLURALS = {"attribute": "attributes", "list": "lists", "review_session": "review_sessions"}


def components_of(
    paths: Sequence[str], options: dict[str, Any]
) -> tuple[list[list[Component]], HookSettings]:
    """Return the components of each request, and the settings.

    Raises:
        BadInputError, SettingsError: something cannot be used.
    """
    entries = entries_of(paths, options)
    settings = HookSettings.from_environment()
    how = Options(
        allow_empty=options["allow_empty"],
        stat=not options["no_stat"],
        node_local=options["node_local"],
        allow_missing=options["allow_missing"],
    )
    try:
        if not how.stat:
            return build_components(entries, settings, how), settings
        return look(lambda: build_components(entries, settings, how)), settings
    except HungError as error:
        raise BadInputError(
            f"{visible(str(error))}: the file system does not answer here: nothing has moved for "
            f"{HUNG_S:.0f} s; look at the mount on this host, or use --no-stat if workers on other "
            "hosts can read the file"
        ) from None
    except OSError as error:  # an absolute path would not need the working folder
        why = f"the working folder cannot be read: {error.strerror}; write absolute paths"
        raise BadInputError(why) from None


def _is_range(path: str) -> bool:
    """Return whether a path is frames, which the shell has split from their pattern."""
    has_frames = "[" in path or "-" in path[1:]
    return has_frames and not path.strip("0123456789[], -xy") and not os.path.lexists(path)


def entries_of(paths: Sequence[str], options: dict[str, Any]) -> list[Entry]:
    """Return what the user described, by arguments or by a manifest.

    Raises:
        BadInputError: they do not go together, or the manifest cannot be read.
    """
    given = {key: options[key] for key in UPLOAD_OPTIONS if options[key] not in (None, False, [])}
    priority = "normal" if options["priority"] is None else options["priority"]
    if priority not in PRIORITIES:
        raise BadInputError(f"--priority {priority!r} is not one of {', '.join(PRIORITIES)}")
    if options["manifest"] is not None:
        if paths or given:
            raise BadInputError(
                "--manifest cannot be combined with paths or options of a single upload; "
                "write these into its lines"
            )
        return _as_next(read_manifest(_lines(options["manifest"]), priority), options)
    if not paths:
        raise BadInputError("name a file to upload, or use --manifest; see farmhaul enqueue --help")
    for before, path in zip(paths, paths[1:]):
        if _is_range(path):
            raise BadInputError(
                f"{path} is frames, and no file of that name is there: write them into one "
                f"argument with their pattern, {before + ' ' + path!r}"
            )
    for key in ("name", "thumbnail", "reviewable"):
        if key in given and len(paths) > 1:
            option = f"--{key} {given[key]}" if key == "name" else f"--{key}"
            raise BadInputError(
                f"{option} is for one file, but {len(paths)} are given; enqueue them one by one, "
                "or use --manifest"
            )
    values = dict(_repeated(key, value) for key, value in given.items())
    return _as_next([Entry(path, priority=priority, **values) for path in paths], options)


def _repeated(option: str, value: Any) -> tuple[str, Any]:
    """Return the key and the value of an option, which may be repeatable."""
    if option in PAIRS:
        value = _pairs(value, f"--{option.replace('_', '-')}")
    return PLURALS.get(option, option), value


def _as_next(entries: list[Entry], options: dict[str, Any]) -> list[Entry]:
    """Return the entries, with --next-version with a key that only this call has."""
    if not options["next_version"]:
        return entries
    if any(
        entry.context is None or entry.version_key is not None or entry.version_number is not None
        for entry in entries
    ):
        raise BadInputError(
            "--next-version needs --context for each file, and no --version-key or --version-number"
        )
    key = os.urandom(16).hex()
    return [entry._replace(version_key=key) for entry in entries]


def _lines(manifest: str) -> list[str]:
    from tasks.intake.spool import MAX_BYTES  # the bound of the manifests in it, too

    try:
        if manifest == "-":
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(manifest, "rb") as file:
                content = file.read(MAX_BYTES + 1)
    except AttributeError:  # Python has no stdin if it was closed
        raise BadInputError(
            "cannot read the manifest -: stdin is closed; pipe it in, or name a file"
        ) from None
    except ValueError:
        raise BadInputError(f"--manifest {manifest[:100]!r} is not the name of a file") from None
    except OSError as error:
        why = f"cannot read the manifest {visible(manifest)}: {error.strerror}"
        raise BadInputError(why) from None
    if len(content) > MAX_BYTES:
        raise BadInputError(
            f"the manifest {visible(manifest)} has more than {MAX_BYTES >> 20} MiB; is it the "
            "right file? If it is, enqueue it in parts, and each publish in one of them"
        )
    try:
        return decode_text(content, "surrogateescape").split("\n")
    except NotTextError as error:
        raise BadInputError(f"cannot read the manifest {visible(manifest)}: {error}") from None


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise BadInputError(
                f"{option} {text!r} is not KEY=VALUE; write, for example, {option} colour=ACEScg"
            )
        if key in pairs:
            raise BadInputError(f"{option} {key!r} is given twice; write each key once")
        pairs[key] = value
    return pairs
