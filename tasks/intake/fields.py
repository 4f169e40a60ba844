"""The fields of a JSON object that anybody may have written, and the checks of their values.

What these refuse is a ValueError with a short reason, which never repeats the value.
"""

from __future__ import annotations

from tasks.intake.manifest import MAX_TEXT
from tasks.intake.ranges import MAX_FRAMES
from tasks.transfer.names import is_unfit
from tasks.transfer.targets import is_uuid
from tasks.transfer.windows import is_windows_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

#: The most files of one request, and the most characters of all of their paths.
MAX_FILES = MAX_FRAMES
MAX_PATHS = 64 << 20
#: The most characters of a component's metadata, keys and values together.
MAX_METADATA = 64 << 10
MAX_HOST = 255
#: A file of 2**63 bytes cannot exist, and XFS counts the nanoseconds of an mtime beyond 2**63.
MAX_NUMBER = 1 << 64

_TYPES = {
    str: "a text", int: "a whole number", bool: "true or false", list: "a list", dict: "an object"
}  # fmt: skip


class UnknownFieldError(ValueError):
    """A request has a field that is unknown in its place; a newer version may know it."""


class Fields:
    """The fields of a JSON object. A reader takes out what it knows; the rest is an error.

    Raises:
        ValueError: the value is not a JSON object.
    """

    def __init__(self, values: object) -> None:
        if not isinstance(values, dict):
            raise ValueError("a request is not a JSON object")  # noqa: TRY004 one kind of error
        self.values = dict(values)

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def take(self, key: str, kind: type, default: object = None) -> Any:
        """Take out a value of this type; without a default, it must be there.

        Raises:
            ValueError: it is not there, or of another type.
        """
        value = self.values.pop(key, default)
        # Not isinstance: JSON's true would count as the number 1.
        if type(value) is not kind:
            raise ValueError(f"{key} is {'missing' if value is None else f'not {_TYPES[kind]}'}")
        return value

    def uuid(self, key: str) -> str:
        """Take out an id, in lower case.

        Raises:
            ValueError: it is not there, or not a UUID.
        """
        text = str(self.take(key, str))
        if not is_uuid(text):
            raise ValueError(f"{key} is not a UUID")
        return text.lower()

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Take out the metadata, sorted; empty if there is none.

        Raises:
            ValueError: it is not an object of texts, or too long.
        """
        return check_metadata(Fields(self.values.pop("metadata", {})).values)

    def end(self) -> None:
        """Check that every field was taken out.

        Raises:
            UnknownFieldError: a field is left.
        """
        for key in self.values:
            raise UnknownFieldError(f"the key {str(key)[:20]!a} is unknown here")


def check_fit(key: str, text: str) -> str:
    """Return a text that can be stored and sent to ftrack.

    Raises:
        ValueError: it is too long, or has characters that do not fit.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"{key} is longer than {MAX_TEXT} characters")
    if is_unfit(text):
        raise ValueError(f"{key} has characters that cannot be stored")
    return text


def check_text(key: str, text: str) -> str:
    """Return a text that fits and is not empty.

    Raises:
        ValueError: it is empty, or does not fit.
    """
    if not text.strip():
        raise ValueError(f"{key} is empty")
    return check_fit(key, text)


def check_path(key: str, text: str) -> str:
    """Return an absolute path, of this system or of Windows.

    Raises:
        ValueError: it is not absolute, or does not fit.
    """
    if not (text.startswith("/") or is_windows_path(text)):
        raise ValueError(f"{key} is not an absolute path")
    return check_fit(key, text)


def check_tail(text: str) -> str:
    """Return what follows the number in the name of a frame.

    Raises:
        ValueError: it contains a folder, or does not fit.
    """
    if "/" in text:
        raise ValueError("tail has a folder")
    return check_fit("tail", text)


def check_host(text: str) -> str:
    """Return the name of a host, or an empty text.

    Raises:
        ValueError: it has spaces, or does not fit.
    """
    if len(text) > MAX_HOST or "".join(text.split()) != text:
        raise ValueError("host is not the name of a host")
    return check_fit("host", text)


def check_metadata(pairs: dict[Any, Any]) -> tuple[tuple[str, str], ...]:
    """Return metadata as sorted pairs of texts.

    Raises:
        ValueError: something is not a text or does not fit, or it is too long as a whole.
    """
    if not all(isinstance(text, str) for pair in pairs.items() for text in pair):
        raise ValueError("metadata has something that is not a text")
    if sum(len(key) + len(value) for key, value in pairs.items()) > MAX_METADATA:
        raise ValueError(f"metadata is longer than {MAX_METADATA} characters")
    for key, value in pairs.items():
        check_text("a key of metadata", key)
        # Tabs and line breaks may be part of a value.
        check_fit("metadata", value.translate({9: " ", 10: " "}))
    return tuple(sorted(pairs.items()))


def check_names(key: str, names: Sequence[object]) -> tuple[str, ...]:
    """Return names that fit, and are not empty.

    Raises:
        ValueError: something is no such text, or they are too long as a whole.
    """
    texts = [name for name in names if isinstance(name, str)]
    if len(texts) < len(names):
        raise ValueError(f"{key} has something that is not a text")
    if sum(map(len, texts)) > MAX_METADATA:
        raise ValueError(f"{key} are longer than {MAX_METADATA} characters")
    return tuple(check_text(key, text) for text in texts)


def check_number(key: str, value: object, least: int, most: int) -> int:
    """Return a whole number within the bounds.

    Raises:
        ValueError: it is something else.
    """
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{key} is not a whole number from {least} to {most}")
    return value


def check_identity(size: object, mtime_ns: object) -> tuple[int, int]:
    """Return a file's size in bytes and its mtime in nanoseconds.

    Raises:
        ValueError: one of them is not a number, or out of bounds.
    """
    return (
        check_number("size", size, 0, MAX_NUMBER),
        check_number("mtime_ns", mtime_ns, -MAX_NUMBER, MAX_NUMBER),
    )


def check_bounds(count: int, characters: int = 0) -> None:
    """Check the number of a request's files, and of the characters of all of their paths.

    Raises:
        ValueError: there are too many.
    """
    if count > MAX_FILES:
        raise ValueError(f"it has more than {MAX_FILES} files")
    if characters > MAX_PATHS:
        raise ValueError(f"the paths of its files have more than {MAX_PATHS} characters")
