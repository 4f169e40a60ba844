"""Sealing: how farmhaul encrypts and authenticates what it writes to Redis.

Every value is JSON. With FARMHAUL_SECRET_KEY, messages, results and the requests in records are
also sealed with Fernet. A program that can write to Redis, but has no key, then cannot make a
worker read a file.

Signed URLs are always sealed, with a key of their own that FARMHAUL_HOOK_KEY does not reveal. Only
workers read them, and workers share ftrack's API key: without FARMHAUL_SECRET_KEY, the key for URLs
is derived from the API key.

The ETags of parts are signed: they are no secret, but a worker believes no other's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks.config.hook_key import hkdf_sha256
from tasks.transfer.errors import SealBrokenError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

    from tasks.config.settings import Settings

CONTENT_TYPE = "application/x-farmhaul"
SERIALIZER = "farmhaul"

#: Shown in place of a text that is sealed with another key, or that is not and should be.
UNREADABLE = "(this node's FARMHAUL_SECRET_KEY does not open it: see farmhaul doctor)"

#: The start of every Fernet token: version 0x80, then a time whose first bytes are zero.
FERNET = "gAAAA"

#: The labels of the keys that are derived from FARMHAUL_SECRET_KEY (the "info" of HKDF).
URL_KEY = b"farmhaul presigned URLs"
PART_KEY = b"farmhaul finished parts"
INDEX_KEY = b"farmhaul search index"
STORED_KEY = b"farmhaul stored bytes"
FINGERPRINT = b"farmhaul fingerprint"
NOTICE_KEY = b"farmhaul notices"


class Codec:
    """Turns plain values into text and back, sealed if it has keys."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Take Fernet keys (32 bytes in URL-safe base64): the first one seals, all of them open."""
        self._keys = tuple(keys)
        self._made: MultiFernet | None = None

    def __repr__(self) -> str:
        return f"Codec({len(self._keys)} keys)"

    @property
    def seals(self) -> bool:
        """Whether this codec seals what it writes."""
        return bool(self._keys)

    def encode(self, value: Any) -> str:
        """Return the text for a value that JSON can hold."""
        text = json.dumps(value, separators=(",", ":"))
        return self._fernet.encrypt(text.encode()).decode() if self._keys else text

    def decode(self, text: str | bytes, what: str = "a value in Redis") -> Any:
        """Return the value of a text that ``encode`` has made.

        Args:
            text: the text.
            what: what the text is, for the error.

        Raises:
            SealBrokenError: the text is not JSON, or is not sealed with one of the keys.
        """
        # With keys, a plain text is refused as well: anybody could have written it.
        try:
            return json.loads(self._open(text) if self._keys else text)
        except (ValueError, RecursionError):
            raise SealBrokenError(what) from None

    @staticmethod
    def sealed_at(text: str | bytes) -> float:
        """Return when a text that ``decode`` accepts was sealed, by the clock of its node."""
        # A Fernet token begins with its version, in one byte, and the time, in eight.
        return float(int.from_bytes(base64.urlsafe_b64decode(text[:12])[1:]))

    def seal_text(self, text: str) -> str:
        """Return the text sealed if there is a key, and unchanged otherwise."""
        return self.encode(text) if self._keys else text

    def unseal_text(self, text: str) -> str:
        """Return a text that may be sealed; those from the scripts in Redis are not.

        A text that is sealed with another key becomes UNREADABLE.
        """
        if not text.startswith(FERNET):
            return text
        try:
            return str(self.decode(text))
        except SealBrokenError:
            return UNREADABLE

    def _open(self, text: str | bytes) -> bytes:
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(text)
        except InvalidToken:
            raise ValueError("not sealed with one of the keys") from None

    @property
    def _fernet(self) -> MultiFernet:
        # Imported late, because an enqueue without a key does not need it.
        from cryptography.fernet import Fernet, MultiFernet

        if self._made is None:
            self._made = MultiFernet([Fernet(key) for key in self._keys])
        return self._made


class Signer:
    """Signs short values that anybody may read, but nobody else may invent, such as ETags."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take keys: the first one signs, all of them check. Without keys nothing is signed."""
        self._keys = tuple(keys)

    def __repr__(self) -> str:
        return f"Signer({len(self._keys)} keys)"

    def sign(self, *values: str | int) -> str:
        """Return the signature of the values in this order; empty without keys."""
        return _signature(self._keys[0], values) if self._keys else ""

    def is_valid(self, signature: str, *values: str | int) -> bool:
        """Return whether ``sign`` made the signature for these values; true without keys."""
        given = signature.encode()
        made = (_signature(key, values).encode() for key in self._keys)
        return not self._keys or any(hmac.compare_digest(given, one) for one in made)


def _signature(key: bytes, values: Sequence[str | int]) -> str:
    # JSON, so that no other values have the same text. 128 bits are enough: nobody can try
    # signatures without a worker that answers.
    return hmac.digest(key, json.dumps(values).encode(), "sha256").hex()[:32]


def message_codec(settings: Settings) -> Codec:
    """Return the codec for messages, results and records."""
    return Codec(settings.secret_keys)


def url_codec(settings: Settings) -> Codec:
    """Return the codec for signed URLs, which always seals.

    Raises:
        SettingsError: there is neither a secret key nor an API key.
    """
    if settings.secret_keys:
        derived = [base64.urlsafe_b64encode(key).decode() for key in _derived(settings, URL_KEY)]
        return Codec(derived)
    ftrack = settings.require_ftrack()
    material = f"farmhaul signed URLs\0{ftrack.server_url}\0{ftrack.api_key}"
    digest = hashlib.sha256(material.encode()).digest()
    return Codec([base64.urlsafe_b64encode(digest).decode()])


def part_signer(settings: Settings) -> Signer:
    """Return what signs the ETags of parts.

    Without a secret key they are not signed. A key derived from the API key would make workers
    that have different API keys refuse each other's parts, and others could forge requests anyway.
    """
    return Signer(_derived(settings, PART_KEY))


def index_keys(settings: Settings) -> list[bytes]:
    """Return the keys of the terms by which uploads are found; none without a secret key."""
    return _derived(settings, INDEX_KEY)


def notice_keys(secret_keys: Sequence[str]) -> list[bytes]:
    """Return the keys that sign what is sent to FARMHAUL_NOTIFY_URL, one for each secret key."""
    materials = map(base64.urlsafe_b64decode, secret_keys)
    return [hkdf_sha256(one, salt=b"", info=NOTICE_KEY, size_bytes=32) for one in materials]


def stored_signer(settings: Settings) -> Signer:
    """Return what signs that the bytes of a file are stored, in its record."""
    return Signer(_derived(settings, STORED_KEY))


def fingerprints(settings: Settings) -> list[str]:
    """Return a fingerprint of each secret key, the one that seals first; "none" without a key.

    Anybody may read them: they tell whether two nodes have the same key, and nothing of it.
    """
    return [key.hex()[:16] for key in _derived(settings, FINGERPRINT)] or ["none"]


def _derived(settings: Settings, label: bytes) -> list[bytes]:
    materials = [base64.urlsafe_b64decode(key) for key in settings.secret_keys]
    return [hkdf_sha256(one, salt=b"", info=label, size_bytes=32) for one in materials]


def register_serializer(codec: Codec) -> None:
    """Make kombu write and read message bodies with the codec."""
    # Imported here, because commands that read records need nothing of Celery.
    from kombu.serialization import register

    register(
        SERIALIZER,
        codec.encode,
        lambda text: codec.decode(text, "a task message"),
        content_type=CONTENT_TYPE,
        content_encoding="utf-8",
    )
