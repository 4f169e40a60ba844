"""The environment, read once into one frozen value; all that is wrong is said at once."""

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
    """The environment can not be used; the text has a line for each thing to mend."""


@dataclass(frozen=True, slots=True)
class FtrackSettings:
    """Where ftrack is, and who we are there. Workers need it, hooks do not."""

    server_url: str
    api_user: str
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """All that farmhaul takes from its environment; see ``docs/configuration.md``."""

    redis_url: str = field(repr=False)
    storage_roots: tuple[str, ...] = ()
    path_map: tuple[tuple[str, str], ...] = ()
    secret_keys: tuple[str, ...] = field(default=(), repr=False)
    lease_s: float = 60.0
    record_days: float = 14.0
    connections: int = 32
    spool: str = ""
    bandwidth: Timetable = NO_LIMIT
    api_calls: Timetable = NO_LIMIT
    log_format: str = "console"
    events: bool = False
    ftrack: FtrackSettings | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the environment; raises SettingsError with all that is wrong in it."""
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
            api_calls=read.value("FARMHAUL_API_RATE", Timetable.from_text, NO_LIMIT),
            log_format=read.value("FARMHAUL_LOG_FORMAT", _log_format, "console"),
            events=read.value("FARMHAUL_FTRACK_EVENTS", _switch, default=False),
            ftrack=read.ftrack(),
        )
        if read.faults:
            raise SettingsError("\n".join(read.faults))
        return settings

    def require_ftrack(self) -> FtrackSettings:
        """Give the ftrack settings; raises SettingsError when this node has none."""
        if self.ftrack is None:
            raise SettingsError(
                "FTRACK_SERVER, FTRACK_API_USER and FTRACK_API_KEY are not set; "
                "a worker needs all three (each also as NAME_FILE)"
            )
        return self.ftrack


class _Reader:
    """Collects faults, so that a person mends them in one go."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.faults: list[str] = []

    def text(self, name: str) -> str:
        """Give NAME, or what stands in the file that NAME_FILE names (a mounted secret)."""
        file = self.environment.get(f"{name}_FILE", "")
        if self.environment.get(name) or not file:
            return self.environment.get(name, "").strip()
        try:
            text = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "is not text"
            self.faults.append(f"{name}_FILE: cannot read {file}: {why}")
            return ""
        if not text:
            self.faults.append(f"{name}_FILE: {file} is empty; write the value into it")
        return text

    def value(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """Parse NAME; a fault is noted and the default given in its place."""
        text = self.text(name)
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.faults.append(f"{name}: {error}")
            return default

    def ftrack(self) -> FtrackSettings | None:
        """Give the three ftrack settings, or None when none of them is set."""
        names = ("FTRACK_SERVER", "FTRACK_API_USER", "FTRACK_API_KEY")
        server, user, key = (self.text(name) for name in names)
        server_url = self.value("FTRACK_SERVER", _server_url, "")
        missing = [name for name, it in zip(names, (server, user, key), strict=True) if not it]
        if len(missing) == len(names):
            return None
        if missing:
            self.faults.append(f"{' and '.join(missing)} not set, though others of ftrack's are")
            return None
        for name, text in zip(names[1:], (user, key), strict=True):
            if not text.isprintable():
                self.faults.append(f"{name}: is not one line of text, as HTTP headers need it")
        return FtrackSettings(server_url, user, key)


def _split(text: str) -> SplitResult | None:
    # The errors of urllib would repeat what stands where a port is expected: a password, when
    # it holds a slash.
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
            "is not a Redis URL; write redis://host:6379/0 or rediss://… for TLS, "
            "and %2F for a slash in the password"
        )
    return text


def _server_url(text: str) -> str:
    url = _split(text)
    if url is None or url.scheme not in {"http", "https"} or url.query or url.fragment:
        raise ValueError("is not the URL of a server; write https://studio.ftrackapp.com")
    if url.username is not None:
        raise ValueError("holds a user; that belongs into FTRACK_API_USER and FTRACK_API_KEY")
    if url.scheme == "http" and url.hostname not in LOOPBACK:
        raise ValueError(f"{text!r} would send the API key in the clear; write https://…")
    return text.rstrip("/")


def _roots(text: str) -> tuple[str, ...]:
    roots = [_absolute(root) for root in text.split(os.pathsep) if root]
    # Real paths, since what is compared with them has its symlinks resolved too.
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
                f"{source + equals + target!r} maps no folder to an absolute path; "
                "write P:\\=/mnt/prod;Q:\\=/mnt/cache"
            )
    return tuple((source, target) for source, _, target in pairs)


def _secret_keys(text: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(",") if key.strip())
    # 32 bytes in URL-safe base64, as cryptography's Fernet.generate_key makes them. Checked
    # here without importing cryptography; the key itself is never repeated in a text.
    for number, key in enumerate(keys, start=1):
        if not re.fullmatch(r"[A-Za-z0-9_-]{43}=", key):
            raise ValueError(f"key {number} is not a Fernet key (44 characters of base64)")
    if not keys:
        raise ValueError("holds no key; unset it to have messages in the clear")
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
