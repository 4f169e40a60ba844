"""Entries: a component that a user has described, by options or by a line of a manifest."""

from __future__ import annotations

from tasks.config.texts import byte_that_is_no_text
from tasks.intake.errors import BadInputError, quoted
from tasks.transfer.named_tuple import NamedTuple
from tasks.transfer.names import is_unfit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

#: The keys of a manifest line, and the types of their values.
MANIFEST_KEYS: dict[str, type] = {
    "path": str,
    "component_id": str,
    "version_id": str,
    "name": str,
    "thumbnail": bool,
    "task_id": str,
    "encode": bool,
    "encode_only": bool,
    "reviewable": bool,
    "frame_range": str,
    "fps": str,
    "resolution": str,
    "metadata": dict,
    "publish": str,
    "priority": str,
    "allow_missing": bool,
    "prune": bool,
    "replace": bool,
    "also_in": str,
    "only_in": str,
    "context": str,
    "asset": str,
    "asset_type": str,
    "version_key": str,
    "version_number": str,
    "task": str,
    "comment": str,
    "status": str,
    "version_metadata": dict,
    "attributes": dict,
    "lists": list,
    "review_sessions": list,
}
#: What to do if paths of Windows were copied into a manifest.
BACKSLASHES = "in JSON, write / or \\\\ for each \\ of a path"
_JSON_NAMES = {str: "a string", bool: "true or false", dict: "an object of strings"}
_JSON_NAMES[list] = "an array of strings"
#: The options whose keys in a manifest are in the plural.
_OPTIONS = {"attributes": "attribute", "lists": "list", "review_sessions": "review-session"}

#: How the keys of metadata begin that farmhaul itself sets: farmhaul_pattern, farmhaul_encoded.
OWN_KEYS = "farmhaul_"
#: The maximum length of a text in characters; PATH_MAX of Linux is the same number of bytes.
MAX_TEXT = 4096


class Entry(NamedTuple):
    """One component as the user wrote it.

    ``where`` is the place in a manifest, such as "manifest line 7: "; it is empty for an entry
    from the command line.
    """

    path: str
    component_id: str | None = None
    version_id: str | None = None
    name: str | None = None
    thumbnail: bool = False
    encode: bool = False
    encode_only: bool = False
    priority: str = "normal"
    task_id: str | None = None
    reviewable: bool = False
    frame_range: str | None = None
    fps: str | None = None
    resolution: str | None = None
    metadata: Mapping[str, str] = {}
    publish: str | None = None
    allow_missing: bool = False
    prune: bool = False
    replace: bool = False
    also_in: str | None = None
    only_in: str | None = None
    context: str | None = None
    asset: str | None = None
    asset_type: str | None = None
    version_key: str | None = None
    version_number: str | None = None
    task: str | None = None
    comment: str | None = None
    status: str | None = None
    version_metadata: Mapping[str, str] = {}
    attributes: Mapping[str, str] = {}
    lists: Sequence[str] = ()
    review_sessions: Sequence[str] = ()
    where: str = ""

    def label(self, key: str) -> str:
        """Return a key as the user wrote it: its name in a manifest, otherwise the option."""
        return key if self.where else f"--{_OPTIONS.get(key, key).replace('_', '-')}"

    def check_texts(self) -> None:
        """Check the texts of the entry that are stored and sent to ftrack.

        Raises:
            BadInputError: a text is empty or too long, or it has characters that do not fit, or a
                key of metadata is farmhaul's own.
        """
        if self.publish is not None and not self.publish.strip():
            raise BadInputError(f"{self.where}publish is empty; write a name, or leave it out")
        for name in ("metadata", "version_metadata", "attributes"):
            if not all(key.strip() for key in getattr(self, name)):
                raise BadInputError(
                    f"{self.where}{self.label(name)} has an empty key; give each value a key"
                )
        for key in self.metadata:
            if key.startswith(OWN_KEYS):
                raise BadInputError(
                    f"{self.where}{self.label('metadata')} has the key {quoted(key)}, but farmhaul "
                    f"itself writes those that begin with {OWN_KEYS}; use another key"
                )
        texts = [("path", self.path), ("name", self.name or ""), ("publish", self.publish or "")]
        texts += [("location", self.also_in or ""), ("location", self.only_in or "")]
        keys = ("context", "asset", "asset_type", "version_key", "version_number", "status")
        texts += [(key, getattr(self, key) or "") for key in keys]
        texts.append(("comment", (self.comment or "").translate({9: " ", 10: " "})))
        texts += [("list", one) for one in (*self.lists, *self.review_sessions)]
        described = (self.metadata, self.version_metadata, self.attributes)
        for key, value in (pair for pairs in described for pair in pairs.items()):
            # Tabs and line breaks may be part of a value.
            texts += [("metadata", key), ("metadata", value.translate({9: " ", 10: " "}))]
        for what, text in texts:
            if len(text) > MAX_TEXT:
                raise BadInputError(
                    f"{self.where}the {what} {quoted(text)} is longer than {MAX_TEXT} characters; "
                    "shorten it"
                )
            if is_unfit(text):
                # JSON reads "P:\new" as a line break between P: and ew.
                is_of_windows = text[1:2] == ":" or text[:1] == "\\"
                step = f"{BACKSLASHES}, or " if self.where and is_of_windows else ""
                raise BadInputError(
                    f"{self.where}the {what} {quoted(text)} contains characters that cannot be "
                    f"stored (control characters, or bytes that are not UTF-8); {step}rename it"
                )


def read_manifest(lines: Iterable[str], priority: str = "normal", first: int = 1) -> list[Entry]:
    """Read a manifest, which is JSON lines.

    Args:
        lines: the lines of the manifest. Empty ones are skipped.
        priority: the priority of lines that do not name one.
        first: the number of the first line.

    Raises:
        BadInputError: a line is not valid; the text names the first of them by its number.
    """
    entries = []
    for number, line in enumerate(lines, start=first):
        if line.strip():
            entries.append(_entry(line, f"manifest line {number}: ", priority))
    if not entries:
        raise BadInputError("the manifest contains no uploads; write one JSON object per line")
    return entries


def _entry(line: str, where: str, priority: str) -> Entry:
    import json

    if place := byte_that_is_no_text(line):
        raise BadInputError(
            f"{where}byte {place} is not UTF-8 text, perhaps of a Windows code page; save the "
            "manifest as UTF-8, or rename the file if its name has such bytes"
        )

    try:
        values = json.loads(line, object_pairs_hook=_unique_keys)
    except KeyError as error:
        raise BadInputError(
            f"{where}{quoted(error.args[0])} stands there twice; write each key once"
        ) from None
    except (ValueError, RecursionError) as error:
        reason = _reason(error)
        step = f"{BACKSLASHES}, and " if "escape" in reason else ""
        raise BadInputError(
            f"{where}not valid JSON ({reason}); {step}write one object per line"
        ) from None
    if not isinstance(values, dict):
        raise BadInputError(f'{where}not a JSON object; write {{"path": …, "component_id": …}}')
    for key, value in values.items():
        if key not in MANIFEST_KEYS:
            raise BadInputError(
                f"{where}{quoted(key)} is not a key of a manifest; the keys are "
                f"{', '.join(MANIFEST_KEYS)}"
            )
        if value is not None and not _has_type(value, MANIFEST_KEYS[key]):
            raise BadInputError(f"{where}{key} must be {_JSON_NAMES[MANIFEST_KEYS[key]]}")
    known: dict[str, Any] = {key: value for key, value in values.items() if value is not None}
    if "path" not in known:
        raise BadInputError(f'{where}has no path; write {{"path": …, "component_id": …}}')
    return Entry(**{"priority": priority, **known}, where=where)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # json would drop the first of two paths without a word.
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise KeyError(key)
        values[key] = value
    return values


def _reason(error: Exception) -> str:
    if message := getattr(error, "msg", ""):  # JSONDecodeError
        return str(message)
    return "nested too deeply" if isinstance(error, RecursionError) else "a number is too long"


def _has_type(value: object, kind: type) -> bool:
    if isinstance(value, dict):
        return kind is dict and all(isinstance(text, str) for text in value.values())
    if isinstance(value, list):
        return kind is list and all(isinstance(text, str) for text in value)
    return isinstance(value, kind)
