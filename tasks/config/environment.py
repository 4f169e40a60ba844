"""Variables of the environment, and how those are read that hooks and workers share."""

from __future__ import annotations

import os

from tasks.config.texts import NotTextError, is_key, read_text, visible
from tasks.transfer.windows import is_absolute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeVar

    T = TypeVar("T")


#: Whose file may be empty, as if it were not named: Docker Compose mounts the secrets of all farms.
MAY_BE_EMPTY = ("FARMHAUL_NOTIFY_URL",)


class SettingsError(ValueError):
    """The environment is not valid; the text has one line for each error."""


class Reader:
    """Reads variables and collects their errors, so that a person can fix all of them together."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.faults: list[str] = []
        self._texts: dict[str, str] = {}

    def text(self, name: str) -> str:
        """Return NAME, or the content of the file that NAME_FILE names (a mounted secret)."""
        if name not in self._texts:
            self._texts[name] = self._read(name)
        return self._texts[name]

    def _read(self, name: str) -> str:
        value = self.environment.get(name, "").strip()
        file = self.environment.get(f"{name}_FILE", "")
        if not file:
            return value
        if value:
            self.faults.append(f"{name} and {name}_FILE are both set; unset one of them")
            return value
        # What is no path may be the secret itself.
        shown = visible(file) if is_absolute(file) else "that file, whose path is not absolute"
        try:
            text = read_text(file).strip()
        except OSError as error:
            self.faults.append(f"{name}_FILE: cannot read {shown}: {error.strerror}")
            return ""
        except ValueError as error:  # also a path with a NUL in it
            why = error if isinstance(error, NotTextError) else "it is not the path of a file"
            self.faults.append(f"{name}_FILE: cannot read {shown}: {why}")
            return ""
        if not text and name not in MAY_BE_EMPTY:
            self.faults.append(f"{name}_FILE: {shown} is empty; write the value into it")
        return text

    def value(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """Return the parsed value of NAME, or the default if it is not set or not valid."""
        text = self.text(name)
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.faults.append(f"{name}: {error}")
            return default

    def check(self) -> None:
        """Check that everything read so far was valid.

        Raises:
            SettingsError: something was not; the text names all of it.
        """
        if self.faults:
            raise SettingsError("\n".join(self.faults))


#: What makes a key for FARMHAUL_SECRET_KEY, on any Linux.
MAKE_KEY = "openssl rand -base64 32 | tr '+/' '-_'"

# Each of these raises ValueError for a text that is not valid.


def absolute_path(text: str) -> str:
    """Return the text, which must be an absolute path."""
    if not is_absolute(text):
        raise ValueError(f"{text!r} is not an absolute path")
    return text


def storage_roots(text: str) -> tuple[str, ...]:
    """Return the folders of a text; nothing is looked up, because a mount may hang."""
    roots = tuple(root for root in text.split(os.pathsep) if root)
    for root in roots:
        if not is_absolute(root):
            raise ValueError(
                f"{root!r} is not an absolute path; write such paths with {os.pathsep} between"
            )
    return roots


def path_map(text: str) -> tuple[tuple[str, str], ...]:
    """Return the prefixes of other systems, each with the folder that it stands for here."""
    pairs = [pair.partition("=") for pair in text.split(";") if pair]
    for source, equals, target in pairs:
        if not (source and equals and is_absolute(target)):
            raise ValueError(
                f"{source + equals + target!r} does not map a folder to an absolute path; "
                "write P:\\=/mnt/prod;Q:\\=/mnt/cache"
            )
    one_folder_each(
        (source.rstrip("/\\") or source, target.rstrip("/")) for source, _, target in pairs
    )
    return tuple((source, target) for source, _, target in pairs)


def one_folder_each(pairs: Iterable[tuple[str, str]]) -> None:
    """Check that nothing stands for two folders, of which one would be ignored.

    Raises:
        ValueError: something does.
    """
    folders: dict[str, str] = {}
    for name, folder in pairs:
        if folders.setdefault(name, folder) != folder:
            raise ValueError(
                f"{name!r} has the folders {folders[name]} and {folder}; leave one out"
            )


def secret_keys(text: str) -> tuple[str, ...]:
    """Return the Fernet keys of a text: 32 bytes each, in URL-safe base64."""
    keys = tuple(key.strip() for key in text.split(",") if key.strip())
    # Checked without cryptography, whose import is slow. The message never repeats the key.
    for number, key in enumerate(keys, start=1):
        if not is_key(key):
            raise ValueError(
                f"key {number} is not a Fernet key (44 characters of base64); make one with "
                f"{MAKE_KEY}"
            )
    if not keys:
        raise ValueError("contains no key; unset it to send messages unencrypted")
    return keys
