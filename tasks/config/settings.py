"""The environment, read once into one frozen value; all of its errors are reported together."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from tasks.config.consistency import check_together
from tasks.config.environment import (
    Reader,
    SettingsError,
    absolute_path,
    one_folder_each,
    path_map,
    secret_keys,
    storage_roots,
)
from tasks.config.hook_key import hook_keys_from_text
from tasks.config.redis_url import parse_redis_url
from tasks.config.texts import is_host, visible
from tasks.config.timetable import NO_LIMIT, Timetable
from tasks.transfer.addresses import LOOPBACK, may_be_called
from tasks.transfer.hanging import HungError, look

DAY_S = 86400.0
FTRACK = ("FTRACK_SERVER", "FTRACK_API_USER", "FTRACK_API_KEY")
NO_FTRACK = (
    f"{FTRACK[0]}, {FTRACK[1]} and {FTRACK[2]} are not set; "
    "a worker needs all three (or the same names with _FILE)"
)
EXAMPLE = "studio.ftrackapp.com"
#: A storage root that has not answered within this time hangs, as a dead NFS mount does.
ROOT_TIMEOUT_S = 10.0


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
    notify_url: str = field(default="", repr=False)
    also_in: str = ""
    locations: tuple[tuple[str, str], ...] = ()
    ftrack: FtrackSettings | None = None

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] = os.environ, *, for_worker: bool = False
    ) -> Settings:
        """Read the environment; for a worker, check also that nothing is missing.

        Raises:
            SettingsError: variables are not valid or missing; the text names all of them.
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
            api_rate=read.value("FARMHAUL_API_RATE", Timetable.of_calls, NO_LIMIT),
            log_format=read.value("FARMHAUL_LOG_FORMAT", _log_format, "console"),
            events=read.value("FARMHAUL_FTRACK_EVENTS", _switch, default=False),
            notify_url=read.value("FARMHAUL_NOTIFY_URL", _notify_url, ""),
            also_in=read.value("FARMHAUL_ALSO_IN", _name, ""),
            locations=read.value("FARMHAUL_LOCATIONS", _locations, ()),
            ftrack=_ftrack(read),
        )
        _check(read, settings)
        if for_worker:
            read.faults += _missing(read, settings)
        hook_keys: tuple[bytes, ...] = read.value("FARMHAUL_HOOK_KEY", hook_keys_from_text, ())
        url = parse_redis_url(settings.redis_url)
        check_together(read, url, settings.secret_keys, hook_keys)
        return settings

    def require_ftrack(self) -> FtrackSettings:
        """Return the ftrack settings.

        Raises:
            SettingsError: this node has none.
        """
        if self.ftrack is None:
            raise SettingsError(NO_FTRACK)
        return self.ftrack


def _check(read: Reader, settings: Settings) -> None:
    """Note settings that contradict each other, and files that libraries cannot use."""
    is_set = all(map(read.text, ("FARMHAUL_RECORD_DAYS", "FARMHAUL_LEASE_SECONDS")))
    if is_set and settings.record_days * DAY_S < settings.lease_s:
        read.faults.append(
            f"FARMHAUL_RECORD_DAYS: {settings.record_days:g} days are shorter than the "
            f"{settings.lease_s:g} s of FARMHAUL_LEASE_SECONDS; records must outlive a lease"
        )
    if settings.notify_url and not settings.secret_keys:
        read.faults.append(
            "FARMHAUL_NOTIFY_URL: notices are signed with a key that is made from "
            "FARMHAUL_SECRET_KEY, which is not set; set it too"
        )
    url = parse_redis_url(settings.redis_url)
    if settings.ftrack is not None or url.has_tls:
        from tasks.config.trust import bundle_faults, proxy_faults, redis_tls_faults

        read.faults += redis_tls_faults(url)
        if settings.ftrack is not None:
            server_url = settings.ftrack.server_url
            read.faults += bundle_faults(read.environment)
            # Where the store is, ftrack says: its proxy is judged when it is called.
            faults = [*proxy_faults(read.environment, server_url)]
            if faults and not _is_called_directly(server_url, read.environment):
                read.faults += faults


def _is_called_directly(url: str, environment: Mapping[str, str]) -> bool:
    """Return whether NO_PROXY has the host of a URL."""
    # Imported late, because it is slow.
    from requests.utils import should_bypass_proxies

    no_proxy = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return bool(should_bypass_proxies(url, no_proxy))


def _missing(read: Reader, settings: Settings) -> Iterator[str]:
    """Yield a line for each thing that a worker needs and does not have."""
    if settings.ftrack is None and not any(read.text(name) for name in FTRACK):
        yield NO_FTRACK
    if not read.text("FARMHAUL_STORAGE_ROOTS"):
        yield (
            "FARMHAUL_STORAGE_ROOTS is not set; a worker uploads only files below the folders that "
            "it names"
        )
    # Imported late, because it is slow.
    from tempfile import gettempdir

    try:
        gettempdir()
    except OSError:
        yield (
            "TMPDIR: no folder for temporary files can be written, and Celery's pool needs one; "
            "mount a tmpfs at /tmp, or name a folder"
        )
    for root in settings.storage_roots:
        try:
            why = look(lambda at=root: _wrong_with(at), ROOT_TIMEOUT_S)  # type: ignore[misc]
        except HungError:
            why = ": it does not answer; look at its mount on this node"
        if why:
            yield f"FARMHAUL_STORAGE_ROOTS: {visible(root)}{why}"


def _wrong_with(root: str) -> str:
    """Return why a storage root cannot be used; empty if it is a folder."""
    try:
        if os.path.isdir(root):
            return ""
        os.stat(root)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not a path"
        step = "mount it on this node, or leave it out"
        if any(mark in root for mark in ",; "):
            step = f"write {os.pathsep} between folders, or {step}"
        return f": {why}; {step}"
    return " is not a folder"


def _ftrack(read: Reader) -> FtrackSettings | None:
    """Return the three ftrack settings, or None if none of them is set."""
    values = {name: read.text(name) for name in FTRACK}
    server_url = read.value("FTRACK_SERVER", _server_url, "")
    missing = [name for name, text in values.items() if not text]
    if len(missing) == len(FTRACK):
        return None
    if missing:
        read.faults.append(
            f"{' and '.join(missing)} {'are' if missing[1:] else 'is'} not set; "
            "set all three FTRACK_ variables or none"
        )
        return None
    for name in FTRACK[1:]:
        if not values[name].isprintable():
            read.faults.append(
                f"{name}: contains characters that cannot be sent in an HTTP header, "
                "such as a line break"
            )
    return FtrackSettings(server_url, values["FTRACK_API_USER"], values["FTRACK_API_KEY"])


def _redis_url(text: str) -> str:
    parse_redis_url(text)
    return text


def _notify_url(text: str) -> str:
    # The message does not repeat the URL: whoever knows it can post there.
    if not may_be_called(text, "http://localhost"):
        raise ValueError(
            "is not a URL that a worker may call: write https://HOST/PATH, without a user before "
            "the host; http:// is for this machine alone"
        )
    return text


def _server_url(text: str) -> str:
    """Return the URL in one spelling: the key for signed URLs is made from it on each worker."""
    scheme, colon, _ = text.partition("://")
    if "@" in text:  # before anything repeats it
        raise ValueError("contains a user; use FTRACK_API_USER and FTRACK_API_KEY for the login")
    url = _split(text)
    if url is None or scheme.lower() not in {"http", "https"} or url.query or url.fragment:
        host = text.partition("/")[0]
        example = host if not colon and _split(f"https://{host}") else EXAMPLE
        shown = text.partition("?")[0][:100]  # a query may have a key in it
        raise ValueError(f"{shown!r} is not a server URL; write https://{example}")
    if url.path.strip("/"):
        raise ValueError(
            f"{text[:100]!r} has the path {url.path[:100]!r}; write {scheme}://{url.netloc}"
        )
    if url.scheme == "http" and url.hostname not in LOOPBACK:
        raise ValueError(f"{text!r} would send the API key unencrypted; write https://…")
    host = url.netloc.lower().rstrip(".")
    default = ":443" if url.scheme == "https" else ":80"
    return f"{url.scheme}://{host.removesuffix(default).rstrip('.').removesuffix(':')}"


def _split(text: str) -> SplitResult | None:
    if not text.isprintable():  # urlsplit would leave out a line break
        return None
    try:
        url = urlsplit(text)
        return url if url.hostname and is_host(url.hostname) and url.port != 0 else None
    except ValueError:  # of the port, or of an address of IPv6
        return None


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


def _name(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text!r} is not the name of a location")
    return text


def _locations(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [pair.partition("=") for pair in text.split(";") if pair]
    for name, equals, folder in pairs:
        if not (name.strip() and equals and os.path.isabs(folder)):
            raise ValueError(
                f"{name + equals + folder!r} does not name a location and its folder; "
                "write studio.disk=/mnt/prod"
            )
    locations = tuple((name.strip(), os.path.normpath(folder)) for name, _, folder in pairs)
    one_folder_each(locations)
    return locations


def _switch(text: str) -> bool:
    if text not in {"on", "off"}:
        raise ValueError(f"{text!r} is neither on nor off")
    return text == "on"
