"""The one way into and out of Redis for what we write: JSON, sealed where there is a key.

With FARMHAUL_SECRET_KEY, messages, results and the requests inside records are encrypted
and authenticated (Fernet): who can write to Redis but has no key can make no worker read
a file. Signed URLs are sealed in any case, since they pass only between workers, which
share ftrack's API key: without a key of ours, theirs is derived from it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kombu.serialization import register

from tasks.transfer.errors import SealBrokenError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

    from tasks.config.settings import Settings

CONTENT_TYPE = "application/x-farmhaul"
SERIALIZER = "farmhaul"

#: What is shown in place of a text that is sealed with another key.
UNREADABLE = "(sealed with a key that is not here: is FARMHAUL_SECRET_KEY the same on all nodes?)"

#: How each Fernet token begins: version 0x80, and a time whose first bytes are zero.
FERNET = "gAAAA"


class Codec:
    """Turns plain values into text and back; sealed when it was given keys."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = tuple(keys)
        self._made: MultiFernet | None = None

    def __repr__(self) -> str:
        return f"Codec({len(self._keys)} keys)"

    @property
    def seals(self) -> bool:
        """Whether there are keys."""
        return bool(self._keys)

    def encode(self, value: Any) -> str:
        """Give the text of a value that JSON can hold."""
        text = json.dumps(value, separators=(",", ":"))
        return self._fernet.encrypt(text.encode()).decode() if self._keys else text

    def decode(
        self, text: str | bytes, what: str = "a value in Redis", within_s: int | None = None
    ) -> Any:
        """Give the value of a text; raises SealBrokenError for one that is not ours.

        With ``within_s``, also for one that was sealed longer ago (by the clocks of both nodes).
        """
        # A foreign text does not get past by being plain: with keys, only sealed ones do.
        try:
            return json.loads(self._open(text, within_s) if self._keys else text)
        except (ValueError, RecursionError):
            raise SealBrokenError(what) from None

    def seal_text(self, text: str) -> str:
        """Seal a text where there is a key, and leave it readable where there is none."""
        return self.encode(text) if self._keys else text

    def unseal_text(self, text: str) -> str:
        """Give a text that may have been hidden; what the scripts in Redis wrote is plain."""
        if not text.startswith(FERNET):
            return text
        try:
            return str(self.decode(text))
        except SealBrokenError:
            return UNREADABLE

    def _open(self, text: str | bytes, within_s: int | None) -> bytes:
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(text, within_s)
        except InvalidToken:
            raise ValueError("not sealed by us") from None

    @property
    def _fernet(self) -> MultiFernet:
        # Imported late: an enqueue without a key should not pay for it.
        from cryptography.fernet import Fernet, MultiFernet

        if self._made is None:
            self._made = MultiFernet([Fernet(key) for key in self._keys])
        return self._made


def message_codec(settings: Settings) -> Codec:
    """Make the codec of messages, results and records."""
    return Codec(settings.secret_keys)


def url_codec(settings: Settings) -> Codec:
    """Make the codec of signed URLs, which always seals."""
    if settings.secret_keys:
        return Codec(settings.secret_keys)
    ftrack = settings.require_ftrack()
    material = f"farmhaul signed URLs\0{ftrack.server_url}\0{ftrack.api_key}"
    digest = hashlib.sha256(material.encode()).digest()
    return Codec([base64.urlsafe_b64encode(digest).decode()])


def register_serializer(codec: Codec) -> None:
    """Teach kombu to write and read message bodies with ``codec``."""
    register(
        SERIALIZER,
        codec.encode,
        lambda text: codec.decode(text, "a task message"),
        content_type=CONTENT_TYPE,
        content_encoding="utf-8",
    )
