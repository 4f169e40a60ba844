"""The environment, read once into one frozen value; all of its errors are reported together."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from tasks.config.sentinel import Sentinel
from tasks.config.timetable import NO_LIMIT, Timetable
from tasks.transfer.models import LOOPBACK

T = TypeVar("T")

REDIS_SCHEMES = {"redis", "rediss"}


class SettingsError(ValueError):
    """The environment is not valid; the text has one line for each error."""


@dataclass(frozen=True, slots=True)
class FtrackSettings:
    """The ftrack server and the API user. Workers need them, hooks do not."""

    server_url: str
    api_user: str
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that farmhaul reads from its environment; see ``docs/configuration.md``."""

    redis_url: str = field(repr=False)
    storage_roots: tuple[str, ...] = ()
    path_map: tuple[tuple[str, str], ...] = ()
    secret_keys: tuple[str, ...] = field(default=(), repr=False)
    lease_s: float = 60.0
    record_days: float = 14.0
    connections: int = 32
    spool: str = ""
    bandwidth: Timetable = NO_LIMIT
    api_rate: Timetable = NO_LIMIT
    log_format: str = "console"
    events: bool = False
    ftrack: FtrackSettings | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the environment.

        Raises:
            SettingsError: variables are not valid; the text names all of them.
        """
        read = _Reader(environment)
        settings = cls(
            redis_url=read.value("FARMHAUL_REDIS_URL", _redis_url, "redis://localhost:6379/0"),
            storage_roots=read.value("FARMHAUL_STORAGE_ROOTS", _roots, ()),
            path_map=read.value("FARMHAUL_PATH_MAP", _path_map, ()),
            secret_keys=read.value("FARMHAUL_SECRET_KEY", _secret_keys, ()),
            lease_s=read.value("FARMHAUL_LEASE_SECONDS", _positive, 60.0),
            record_days=read.value("FARMHAUL_RECORD_DAYS", _positive, 14.0),
            connections=read.value("FARMHAUL_CONNECTIONS", _count, 32),
            spool=read.value("FARMHAUL_SPOOL", _absolute, ""),
            bandwidth=read.value("FARMHAUL_BANDWIDTH", Timetable.from_text, NO_LIMIT),
            api_rate=read.value("FARMHAUL_API_RATE", Timetable.from_text, NO_LIMIT),
            log_format=read.value("FARMHAUL_LOG_FORMAT", _log_format, "console"),
            events=read.value("FARMHAUL_FTRACK_EVENTS", _switch, default=False),
            ftrack=read.ftrack(),
        )
        if read.faults:
            raise SettingsError("\n".join(read.faults))
        return settings

    def require_ftrack(self) -> FtrackSettings:
        """Return the ftrack settings.

        Raises:
            SettingsError: this node has none.
        """
        if self.ftrack is None:
            raise SettingsError(
                "FTRACK_SERVER, FTRACK_API_USER and FTRACK_API_KEY are not set; "
                "a worker needs all three (or the same names with _FILE)"
            )
        return self.ftrack


class _Reader:
    """Reads variables and collects their errors, so that a person can fix all of them together."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.faults: list[str] = []

    def text(self, name: str) -> str:
        """Return NAME, or the content of the file that NAME_FILE names (a mounted secret)."""
        file = self.environment.get(f"{name}_FILE", "")
        if self.environment.get(name) or not file:
            return self.environment.get(name, "").strip()
        try:
            text = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            self.faults.append(f"{name}_FILE: cannot read {file}: {why}")
            return ""
        if not text:
            self.faults.append(f"{name}_FILE: {file} is empty; write the value into it")
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

    def ftrack(self) -> FtrackSettings | None:
        """Return the three ftrack settings, or None if none of them is set."""
        names = ("FTRACK_SERVER", "FTRACK_API_USER", "FTRACK_API_KEY")
        values = {name: self.text(name) for name in names}
        server_url = self.value("FTRACK_SERVER", _server_url, "")
        missing = [name for name, text in values.items() if not text]
        if len(missing) == len(names):
            return None
        if missing:
            self.faults.append(
                f"{' and '.join(missing)} {'are' if missing[1:] else 'is'} not set; "
                "set all three FTRACK_ variables or none"
            )
            return None
        for name in names[1:]:
            if not values[name].isprintable():
                self.faults.append(
                    f"{name}: contains characters that cannot be sent in an HTTP header, "
                    "such as a line break"
                )
        return FtrackSettings(server_url, values["FTRACK_API_USER"], values["FTRACK_API_KEY"])


def _split(text: str) -> SplitResult | None:
    # urllib's errors would repeat the text in the place of the port. If a password contains a
    # slash, that text is part of it.
    try:
        url = urlsplit(text)
        return url if url.hostname and url.port != 0 else None
    except ValueError:
        return None


def _redis_url(text: str) -> str:
    if text.startswith("sentinel://"):
        Sentinel.from_url(text)
        return text
    url = _split(text)
    if url is None or url.scheme not in REDIS_SCHEMES or not re.fullmatch(r"/?\d*", url.path):
        raise ValueError(
            "is not a Redis URL; write redis://host:6379/0, or rediss://… for TLS, "
            "with %2F for a slash in the password"
        )
    return text


def _server_url(text: str) -> str:
    url = _split(text)
    if url is None or url.scheme not in {"http", "https"} or url.query or url.fragment:
        raise ValueError("is not a server URL; write https://studio.ftrackapp.com")
    if url.username is not None:
        raise ValueError("contains a user; use FTRACK_API_USER and FTRACK_API_KEY for the login")
    if url.scheme == "http" and url.hostname not in LOOPBACK:
        raise ValueError(f"{text!r} would send the API key unencrypted; write https://…")
    return text.rstrip("/")


def _roots(text: str) -> tuple[str, ...]:
    roots = [_absolute(root) for root in text.split(os.pathsep) if root]
    # Real paths, because they are compared with paths whose symlinks are resolved.
    return tuple(os.path.realpath(root) for root in roots)


def _absolute(text: str) -> str:
    if not os.path.isabs(text):
        raise ValueError(f"{text!r} is not an absolute path")
    return text


def _path_map(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [pair.partition("=") for pair in text.split(";") if pair]
    for source, equals, target in pairs:
        if not (source and equals and os.path.isabs(target)):
            raise ValueError(
                f"{source + equals + target!r} does not map a folder to an absolute path; "
                "write P:\\=/mnt/prod;Q:\\=/mnt/cache"
            )
    return tuple((source, target) for source, _, target in pairs)


def _secret_keys(text: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(",") if key.strip())
    # 32 bytes in URL-safe base64, as from cryptography's Fernet.generate_key. Checked without
    # cryptography, whose import is slow. The message never repeats the key.
    for number, key in enumerate(keys, start=1):
        if not re.fullmatch(r"[A-Za-z0-9_-]{43}=", key):
            raise ValueError(f"key {number} is not a Fernet key (44 characters of base64)")
    if not keys:
        raise ValueError("contains no key; unset it to send messages unencrypted")
    return keys


def _positive(text: str) -> float:
    number = float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) else 0.0
    if number <= 0:
        raise ValueError(f"{text!r} is not a number above 0")
    return number


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text):
        raise ValueError(f"{text!r} is not a whole number from 1 to 999")
    return int(text)


def _log_format(text: str) -> str:
    if text not in {"console", "json"}:
        raise ValueError(f"{text!r} is neither console nor json")
    return text


def _switch(text: str) -> bool:
    if text not in {"on", "off"}:
        raise ValueError(f"{text!r} is neither on nor off")
    return text == "on"
