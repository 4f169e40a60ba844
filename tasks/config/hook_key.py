"""The keys by which hooks sign: made from FARMHAUL_SECRET_KEY, which they do not reveal.

A hook runs on every render node. With a hook key, a node can ask for uploads, but it cannot open
what workers have sealed.
"""

from __future__ import annotations

import binascii
import sys

from tasks.config.texts import is_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

KEY_BYTES = 32
INFO = b"farmhaul hook key"
#: Of SHA-256.
HASH_BYTES = 32
BLOCK_BYTES = 64


def derive_hook_key(secret_key: str) -> bytes:
    """Return the hook key of a Fernet key (44 characters of URL-safe base64)."""
    return hkdf_sha256(_decoded(secret_key), salt=b"", info=INFO, size_bytes=KEY_BYTES)


def hkdf_sha256(material: bytes, *, salt: bytes, info: bytes, size_bytes: int) -> bytes:
    """Derive a key by HKDF, as RFC 5869 has it; cryptography's own would be slow to import."""
    key = hmac_sha256(salt, material)
    block, blocks = b"", b""
    for number in range(1, -(-size_bytes // HASH_BYTES) + 1):
        block = hmac_sha256(key, block + info + bytes([number]))
        blocks += block
    return blocks[:size_bytes]


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return the HMAC-SHA256 (RFC 2104) of a message.

    The modules hmac and hashlib would load OpenSSL, which takes a hook a third of the time that
    an empty Python takes (measured with 3.11).
    """
    sha256 = _sha256()
    if len(key) > BLOCK_BYTES:
        key = sha256(key).digest()
    key = key.ljust(BLOCK_BYTES, b"\0")
    inner = sha256(key.translate(_INNER) + message).digest()
    return bytes(sha256(key.translate(_OUTER) + inner).digest())


_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


def _sha256() -> Any:
    # Python's own, which hashlib takes where there is no OpenSSL.
    name = "_sha2" if sys.version_info >= (3, 12) else "_sha256"
    try:
        return __import__(name).sha256
    except ImportError:
        import hashlib

        return hashlib.sha256


def hook_key_text(keys: bytes | Sequence[bytes]) -> str:
    """Return the value of FARMHAUL_HOOK_KEY for one key, or for several, the newest first."""
    several = [keys] if isinstance(keys, bytes) else keys
    return ",".join(_encoded(key) for key in several)


def hook_keys_from_text(text: str) -> tuple[bytes, ...]:
    """Read a value of FARMHAUL_HOOK_KEY: keys with commas between them, the newest first.

    Raises:
        ValueError: it has no key, or one that is malformed; the message never repeats it.
    """
    texts = [key.strip() for key in text.split(",") if key.strip()]
    for number, key in enumerate(texts, start=1):
        if not is_key(key):
            raise ValueError(
                f"key {number} is not a hook key (44 characters of base64); "
                "copy what farmhaul key hook prints"
            )
    if not texts:
        raise ValueError("contains no key; unset it to send requests unsigned")
    return tuple(_decoded(key) for key in texts)


def _encoded(key: bytes) -> str:
    # binascii, because base64 is one more module to import at each start of a hook.
    return binascii.b2a_base64(key, newline=False).translate(_TO_URL).decode("ascii")


def _decoded(text: str) -> bytes:
    return binascii.a2b_base64(text.encode("ascii").translate(_FROM_URL))


_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")
