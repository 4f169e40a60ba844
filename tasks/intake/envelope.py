"""The entry: how requests travel from a hook to a worker, signed as a whole.

    farmhaul/1 SIGNATURE
    {"id": "…", "asked_at": 1795651200.0, "host": "node7", "requests": [{…}, …]}

The signature is an HMAC-SHA256 in 64 hexadecimal digits, or "-" where no key is set. It is over
the version and the body, so nothing of an entry can be altered. The entry lies in Redis, where
others can write: nothing of a body is read before its signature fits.
"""

from __future__ import annotations

import os

from tasks.intake.json_text import json_text
from tasks.transfer.named_tuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    import json
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn

#: The largest body: bounds the memory that one entry takes in a worker.
MAX_BYTES = 16 * 1024 * 1024
VERSION = b"farmhaul/1"
UNSIGNED = b"-"
#: The first line: the version, a space and the signature.
_SIGNATURE_BYTES = 64
_HEAD_BYTES = len(VERSION) + 1 + _SIGNATURE_BYTES
_HEX = frozenset(b"0123456789abcdef")
_ID_LENGTH = 32
#: As long as a name in DNS may be.
MAX_HOST = 255
#: The year 5138: a time in milliseconds is not one in seconds.
MAX_TIME_S = 1e11


class EntryRefusedError(Exception):
    """An entry is not taken in.

    ``reason`` says why ("it is not signed"). ``host`` is what the entry itself says about its
    sender, for the log; it is empty where nothing readable is said, and it proves nothing.
    """

    def __init__(self, reason: str, host: str = "") -> None:
        super().__init__(reason, host)
        self.reason = reason
        self.host = host

    def __str__(self) -> str:
        return f"an entry of {self.host or 'an unknown host'} was refused: {self.reason}"


class SignedButNoKeyError(EntryRefusedError):
    """The entry is signed, and this worker has no key: another worker may have it."""


class AnotherKeyError(EntryRefusedError):
    """No key of this worker has signed the entry. The wrong key may be that of the worker."""


class NewerError(EntryRefusedError):
    """A newer version of farmhaul has made the entry: a worker of that version can read it."""

    #: Whether the signature fits; that of another form cannot be checked.
    is_verified = True


class NewerFormError(NewerError):
    """The first line itself says so."""

    is_verified = False


class Envelope(NamedTuple):
    """What an entry says: ``asked_at`` is in seconds since 1970, ``host`` the sender's name.

    ``user`` is who ran the hook; a former version does not say it.
    """

    id: str
    asked_at: float
    host: str
    requests: list[dict[str, Any]]
    user: str = ""


FIELDS = {"id", "asked_at", "host", "requests"}


def make_body(
    requests: Sequence[Mapping[str, Any]], asked_at: float, host: str, user: str = ""
) -> bytes:
    """Return the body for requests in the form of ``tasks.intake.wire``."""
    # The host comes first, where it is found in an entry that is not read.
    values = {"host": host, "id": os.urandom(16).hex(), "asked_at": asked_at, "requests": requests}
    if user:
        values["user"] = user
    # ASCII, because a path on disk need not be valid Unicode.
    return json_text(values).encode("ascii")


def sign(body: bytes, keys: Sequence[bytes]) -> bytes:
    """Return the entry of a body, signed with the first key, or unsigned without keys."""
    signature = UNSIGNED
    if keys:
        # Imported late: a farm without keys does not need it.
        from tasks.config.hook_key import hmac_sha256

        signature = hmac_sha256(keys[0], VERSION + b"\n" + body).hex().encode("ascii")
    return VERSION + b" " + signature + b"\n" + body


def open_entry(entry: bytes, keys: Sequence[bytes]) -> Envelope:
    """Check an entry and return what it says; the form of each request is left to ``from_wire``.

    Without keys, only unsigned entries are accepted; with keys, only signed ones.

    Raises:
        SignedButNoKeyError: the entry is signed, and there are no keys.
        AnotherKeyError: it is unsigned, altered, or signed with another key.
        NewerError: it is of a newer version.
        EntryRefusedError: it is too large or malformed.
    """
    try:
        return _read(_signed_body(entry, keys))
    except EntryRefusedError as error:
        raise type(error)(error.reason, host_in(entry)) from None


def host_in(entry: bytes) -> str:
    """Return the host that an unchecked entry or body names near its start, or an empty text."""
    import re

    match = re.search(rb'"host":"([^"\\\x00-\x1f\x7f]{1,255})"', entry[:512])
    host = match[1].decode("utf-8", "replace") if match else ""
    return host if host.isprintable() else ""


def _signed_body(entry: bytes, keys: Sequence[bytes]) -> bytes:
    head, end, _ = entry[: _HEAD_BYTES + 1].partition(b"\n")
    version, _, signature = head.partition(b" ")
    if version != VERSION or not end:
        if _is_newer(entry):
            raise NewerFormError("its form is that of a newer version")
        raise EntryRefusedError("it is not an entry of this version of farmhaul")
    body = entry[len(head) + 1 :]
    if len(body) > MAX_BYTES:
        raise EntryRefusedError(f"it has more than {MAX_BYTES} bytes")
    if signature == UNSIGNED:
        if keys:
            raise AnotherKeyError("it is not signed")
    elif len(signature) != _SIGNATURE_BYTES or not _HEX.issuperset(signature):
        raise EntryRefusedError("its first line is malformed")
    elif not keys:
        raise SignedButNoKeyError("it is signed, and this worker has no key")
    elif not _is_by_one_of(keys, signature, body):
        raise AnotherKeyError("its signature does not fit: another key, or altered")
    return body


def _is_newer(entry: bytes) -> bool:
    import re

    name, _, mine = VERSION.partition(b"/")
    found = re.match(name + rb"/(\d{1,4})[ \n]", entry)
    return found is not None and int(found[1]) > int(mine) and len(entry) <= MAX_BYTES


def _is_by_one_of(keys: Sequence[bytes], signature: bytes, body: bytes) -> bool:
    # Only workers open entries. They have OpenSSL, which is faster than Python's own SHA-256.
    import hmac

    signed = VERSION + b"\n" + body
    return any(
        hmac.compare_digest(signature, hmac.digest(key, signed, "sha256").hex().encode("ascii"))
        for key in keys
    )


def _read(body: bytes) -> Envelope:
    try:
        values = _decoder().decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise EntryRefusedError("it is not UTF-8 text") from None
    except ValueError:
        # Python's own text would repeat parts of the body.
        raise EntryRefusedError("it is not JSON") from None
    except RecursionError:
        raise EntryRefusedError("it is nested too deeply") from None
    if isinstance(values, dict) and values.keys() - {"user"} > FIELDS:
        raise NewerError("its envelope has a field of a newer version")
    if not isinstance(values, dict) or values.keys() - {"user"} != FIELDS:
        raise EntryRefusedError("it does not have exactly the fields of an envelope")
    _check(values)
    return Envelope(**values)


def _decoder() -> json.JSONDecoder:
    if not _decoders:
        # Imported late: only workers read entries.
        import json

        _decoders.append(
            json.JSONDecoder(
                object_pairs_hook=_once, parse_float=_finite, parse_constant=_no_constant
            )
        )
    return _decoders[0]


_decoders: list[json.JSONDecoder] = []


def _check(values: dict[str, Any]) -> None:
    names = ("id", "asked_at", "host", "requests")
    ident, asked_at, host, requests = (values[name] for name in names)
    is_id = isinstance(ident, str) and len(ident) == _ID_LENGTH and ident.isascii()
    if not is_id or not _HEX.issuperset(ident.encode()):
        raise EntryRefusedError("its id is not 32 hexadecimal digits")
    # A bool is an int for isinstance.
    if type(asked_at) not in {int, float} or not 0 < asked_at < MAX_TIME_S:
        raise EntryRefusedError("its time is not a time")
    if not (isinstance(host, str) and 0 < len(host) <= MAX_HOST and host.isprintable()):
        raise EntryRefusedError("its host is not a name")
    user = values.get("user", "")
    if not (isinstance(user, str) and len(user) <= MAX_HOST and user.isprintable()):
        raise EntryRefusedError("its user is not a name")
    if not (isinstance(requests, list) and requests):
        raise EntryRefusedError("it has no requests")
    if not all(isinstance(request, dict) for request in requests):
        raise EntryRefusedError("a request is not an object")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise EntryRefusedError("it has a field twice")
    return values


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise EntryRefusedError("it has a number that is too large")
    return number


def _no_constant(_: str) -> NoReturn:
    raise EntryRefusedError("it has a number that is not finite")
