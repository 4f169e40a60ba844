"""The keys by which hooks sign: derived as RFC 5869 has it, and written as text."""

from __future__ import annotations

import base64
import hmac
import subprocess

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.hook_key import (
    derive_hook_key,
    hkdf_sha256,
    hmac_sha256,
    hook_key_text,
    hook_keys_from_text,
)
from tests.helpers.pythons import SOURCE, python

#: RFC 5869, A.1 to A.3: material, salt, info, and the key.
VECTORS = [
    (
        b"\x0b" * 22,
        bytes(range(13)),
        bytes(range(0xF0, 0xFA)),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)),
        bytes(range(0x60, 0xB0)),
        bytes(range(0xB0, 0x100)),
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c6"
            "5e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    (
        b"\x0b" * 22,
        b"",
        b"",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.mark.parametrize(("material", "salt", "info", "key"), VECTORS, ids=["A.1", "A.2", "A.3"])
def test_the_derivation_is_that_of_rfc_5869(
    material: bytes, salt: bytes, info: bytes, key: str
) -> None:
    expected = bytes.fromhex(key)

    made = hkdf_sha256(material, salt=salt, info=info, size_bytes=len(expected))

    assert made == expected


@given(
    st.binary(max_size=100),
    st.binary(max_size=100),
    st.binary(max_size=100),
    st.integers(1, 255 * 32),
)
def test_the_derivation_is_that_of_cryptography(
    material: bytes, salt: bytes, info: bytes, size: int
) -> None:
    oracle = HKDF(hashes.SHA256(), size, salt, info)

    assert hkdf_sha256(material, salt=salt, info=info, size_bytes=size) == oracle.derive(material)


@given(st.binary(max_size=200), st.binary(max_size=300))
def test_the_hmac_is_that_of_python(key: bytes, message: bytes) -> None:
    assert hmac_sha256(key, message) == hmac.digest(key, message, "sha256")


@pytest.mark.parametrize("hidden", ["", "_sha2 _sha256"], ids=["own", "OpenSSL's"])
@pytest.mark.parametrize("minor", [8, 11, 12, 13])
def test_other_pythons_make_the_same_hmac(minor: int, hidden: str) -> None:
    program = python(minor)
    script = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({hidden.split()}))\n"
        "from tasks.config.hook_key import hmac_sha256\n"
        "made = hmac_sha256(b'k' * 32, b'message')\n"
        "print(made.hex(), 'hashlib' in sys.modules)\n"
    )
    done = subprocess.run(
        [program, "-c", script], cwd=SOURCE, capture_output=True, text=True, check=True
    )

    expected = hmac.digest(b"k" * 32, b"message", "sha256").hex()
    assert done.stdout.split() == [expected, str(bool(hidden))]


def test_a_hook_key_comes_from_the_bytes_of_the_secret_key() -> None:
    secret = Fernet.generate_key().decode()
    oracle = HKDF(hashes.SHA256(), 32, None, b"farmhaul hook key")

    assert derive_hook_key(secret) == oracle.derive(base64.urlsafe_b64decode(secret))


def test_the_same_secret_key_always_makes_the_same_hook_key() -> None:
    # Hooks in the field sign with keys that were printed long ago: this value never changes.
    assert hook_key_text(derive_hook_key("A" * 43 + "=")) == (
        "AWcbSPFnhp3P-AY1IXP4M01RMGXGPWfSpKTGD-xR9L8="
    )


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=4))
def test_keys_come_back_from_their_text(keys: list[bytes]) -> None:
    assert hook_keys_from_text(hook_key_text(keys)) == tuple(keys)


def test_the_text_of_a_key_is_url_safe_base64() -> None:
    key = bytes(range(0xE0, 0x100))

    assert hook_key_text(key) == base64.urlsafe_b64encode(key).decode()


def test_blanks_between_keys_do_no_harm() -> None:
    first, second = b"1" * 32, b"2" * 32

    text = f" {hook_key_text(first)} , {hook_key_text(second)},"

    assert hook_keys_from_text(text) == (first, second)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("s3cr3t", "key 1 is not a hook key"),
        (hook_key_text(b"1" * 32) + ",s3cr3t", "key 2 is not a hook key"),
        ("A" * 43 + "=\n=", "key 1 is not a hook key"),
        ("ä" * 43 + "=", "key 1 is not a hook key"),
        (" , ", "contains no key"),
    ],
)
def test_a_malformed_key_is_refused_without_its_text(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refusal:
        hook_keys_from_text(text)

    assert "s3cr3t" not in str(refusal.value)
