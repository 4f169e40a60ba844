"""The environment, read once into one frozen value; all of its errors are reported together."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from tasks.config.environment import (
    Reader,
    SettingsError,
    absolute_path,
    path_map,
    secret_keys,
    storage_roots,
)
from tasks.config.redis_url import parse_redis_url
from tasks.config.timetable import NO_LIMIT, Timetable
from tasks.transfer.models import LOOPBACK


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
        read = Reader(environment)
        settings = cls(
            redis_url=read.value("FARMHAUL_REDIS_URL", _redis_url, "redis://localhost:6379/0"),
            storage_roots=read.value("FARMHAUL_STORAGE_ROOTS", storage_roots, ()),
            path_map=read.value("FARMHAUL_PATH_MAP", path_map, ()),
            secret_keys=read.value("FARMHAUL_SECRET_KEY", secret_keys, ()),
            lease_s=read.value("FARMHAUL_LEASE_SECONDS", _positive, 60.0),
            record_days=read.value("FARMHAUL_RECORD_DAYS", _positive, 14.0),
            connections=read.value("FARMHAUL_CONNECTIONS", _count, 32),
            spool=read.value("FARMHAUL_SPOOL", absolute_path, ""),
            bandwidth=read.value("FARMHAUL_BANDWIDTH", Timetable.from_text, NO_LIMIT),
            api_rate=read.value("FARMHAUL_API_RATE", Timetable.from_text, NO_LIMIT),
            log_format=read.value("FARMHAUL_LOG_FORMAT", _log_format, "console"),
            events=read.value("FARMHAUL_FTRACK_EVENTS", _switch, default=False),
            ftrack=_ftrack(read),
        )
        read.check()
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


def _ftrack(read: Reader) -> FtrackSettings | None:
    """Return the three ftrack settings, or None if none of them is set."""
    names = ("FTRACK_SERVER", "FTRACK_API_USER", "FTRACK_API_KEY")
    values = {name: read.text(name) for name in names}
    server_url = read.value("FTRACK_SERVER", _server_url, "")
    missing = [name for name, text in values.items() if not text]
    if len(missing) == len(names):
        return None
    if missing:
        read.faults.append(
            f"{' and '.join(missing)} {'are' if missing[1:] else 'is'} not set; "
            "set all three FTRACK_ variables or none"
        )
        return None
    for name in names[1:]:
        if not values[name].isprintable():
            read.faults.append(
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
    parse_redis_url(text)
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
