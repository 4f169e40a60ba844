"""Values in Redis: plain without a key, sealed with one; foreign values are not read."""

from __future__ import annotations

import base64
import json

import kombu.serialization
import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.environment import SettingsError
from tasks.config.hook_key import derive_hook_key
from tasks.config.sealing import (
    CONTENT_TYPE,
    SERIALIZER,
    Codec,
    Signer,
    message_codec,
    part_signer,
    register_serializer,
    url_codec,
)
from tasks.config.settings import FtrackSettings, Settings
from tasks.transfer.errors import SealBrokenError

KEY, OTHER = Fernet.generate_key().decode(), Fernet.generate_key().decode()
VALUE = {"path": "/mnt/ünï/🎬.exr", "parts": [1, 2.5, None, True]}
SERVER = FtrackSettings("https://studio.ftrackapp.com", "farm", "k3y")


def sealed_settings(**values: object) -> Settings:
    return Settings("redis://localhost", **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("keys", [(), (KEY,), (KEY, OTHER)], ids=["plain", "one", "two"])
def test_a_value_comes_back_as_it_was(keys: tuple[str, ...]) -> None:
    codec = Codec(keys)

    assert codec.decode(codec.encode(VALUE)) == VALUE
    assert codec.decode(codec.encode(VALUE).encode()) == VALUE


def test_without_keys_the_text_is_short_json() -> None:
    assert Codec([]).encode({"a": [1, 2]}) == '{"a":[1,2]}'


def test_with_a_key_the_text_reveals_nothing() -> None:
    assert "mnt" not in Codec([KEY]).encode(VALUE)


def test_the_first_key_writes_and_all_keys_read() -> None:
    old, new = Codec([OTHER]), Codec([KEY, OTHER])

    assert new.decode(old.encode(VALUE)) == VALUE
    with pytest.raises(SealBrokenError):
        old.decode(new.encode(VALUE))


@pytest.mark.parametrize(
    "text",
    ['{"path": "/etc/shadow"}', "", "gAAAAA", "ünï", b"\xff", Codec([OTHER]).encode(VALUE)],
    ids=["plain", "empty", "short", "non-ascii", "bytes", "other-key"],
)
def test_with_a_key_only_sealed_texts_are_read(text: str | bytes) -> None:
    with pytest.raises(SealBrokenError, match="the record of x is not sealed"):
        Codec([KEY]).decode(text, "the record of x")


def test_a_tampered_text_is_not_read() -> None:
    text = Codec([KEY]).encode(VALUE)
    middle = len(text) // 2
    tampered = text[:middle] + ("A" if text[middle] != "A" else "B") + text[middle + 1 :]

    with pytest.raises(SealBrokenError):
        Codec([KEY]).decode(tampered)


@given(st.text(max_size=50) | st.binary(max_size=50))
def test_any_text_is_read_or_a_broken_seal(text: str | bytes) -> None:
    for codec in (Codec([]), Codec([KEY])):
        try:
            codec.decode(text)
        except SealBrokenError as error:
            assert "a value in Redis" in str(error)  # noqa: PT017 most inputs are refused, some fit


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 10_000], ids=["nested", "number"])
def test_json_that_python_cannot_read_is_a_broken_seal(text: str) -> None:
    with pytest.raises(SealBrokenError):
        Codec([]).decode(text)


def test_keys_are_in_no_repr() -> None:
    assert repr(Codec([KEY])) == "Codec(1 keys)"
    assert repr(Signer([b"key"])) == "Signer(1 keys)"


def test_messages_are_sealed_when_there_is_a_key() -> None:
    assert json.loads(message_codec(sealed_settings()).encode(VALUE)) == VALUE
    sealed = message_codec(sealed_settings(secret_keys=(KEY,))).encode(VALUE)
    assert Codec([KEY]).decode(sealed) == VALUE


def test_signed_urls_are_sealed_with_a_key_of_their_own() -> None:
    settings = sealed_settings(secret_keys=(KEY, OTHER))
    sealed = url_codec(settings).encode(VALUE)

    assert url_codec(settings).decode(sealed) == VALUE
    hook_key = base64.urlsafe_b64encode(derive_hook_key(KEY)).decode()
    for key in (KEY, hook_key):
        with pytest.raises(SealBrokenError):
            Codec([key]).decode(sealed)


def test_while_keys_are_changed_urls_of_the_former_key_are_read() -> None:
    sealed = url_codec(sealed_settings(secret_keys=(OTHER,))).encode(VALUE)

    assert url_codec(sealed_settings(secret_keys=(KEY, OTHER))).decode(sealed) == VALUE
    with pytest.raises(SealBrokenError):
        url_codec(sealed_settings(secret_keys=(KEY,))).decode(sealed)


def test_with_a_secret_key_urls_depend_on_nothing_else() -> None:
    """Two API keys, or two spellings of the server, may be in use while one is replaced."""
    sealed = url_codec(sealed_settings(secret_keys=(KEY,), ftrack=SERVER)).encode(VALUE)
    other = FtrackSettings("https://STUDIO.ftrackapp.com", "farm", "other key")

    assert url_codec(sealed_settings(secret_keys=(KEY,), ftrack=other)).decode(sealed) == VALUE


def test_a_signature_fits_the_values_in_their_order_alone() -> None:
    signer = part_signer(sealed_settings(secret_keys=(KEY,)))
    signature = signer.sign("an upload", 3, "an etag")

    assert signer.is_valid(signature, "an upload", 3, "an etag")
    for values in (("an upload", 4, "an etag"), ("an upload", 3), ("an upload, 3", "an etag")):
        assert not signer.is_valid(signature, *values)
    for other in ("", "ünï", signature[:-1], f"{signature}0"):
        assert not signer.is_valid(other, "an upload", 3, "an etag")


def test_while_keys_are_changed_signatures_of_each_are_valid() -> None:
    old, new = (part_signer(sealed_settings(secret_keys=keys)) for keys in ((OTHER,), (KEY, OTHER)))

    assert new.is_valid(old.sign("an etag"), "an etag")
    assert not old.is_valid(new.sign("an etag"), "an etag")


def test_without_a_secret_key_nothing_is_signed() -> None:
    signer = part_signer(sealed_settings(ftrack=SERVER))

    assert signer.sign("an etag") == ""
    assert signer.is_valid("", "an etag")
    assert signer.is_valid("of another version", "an etag")


def test_without_a_secret_key_urls_are_sealed_by_the_api_key() -> None:
    here, there = (
        url_codec(sealed_settings(ftrack=SERVER)),
        url_codec(sealed_settings(ftrack=FtrackSettings(SERVER.server_url, "other user", "k3y"))),
    )
    stranger = url_codec(
        sealed_settings(ftrack=FtrackSettings(SERVER.server_url, "farm", "other key"))
    )

    sealed = here.encode(VALUE)

    assert "mnt" not in sealed
    assert there.decode(sealed) == VALUE
    with pytest.raises(SealBrokenError):
        stranger.decode(sealed)


def test_without_any_key_signed_urls_cannot_be_sealed() -> None:
    with pytest.raises(SettingsError):
        url_codec(sealed_settings())


def test_message_bodies_use_the_codec() -> None:
    register_serializer(Codec([KEY]))
    try:
        content_type, encoding, body = kombu.serialization.dumps(VALUE, serializer=SERIALIZER)
        assert (content_type, encoding) == (CONTENT_TYPE, "utf-8")
        assert kombu.serialization.loads(body, content_type, encoding, [CONTENT_TYPE]) == VALUE
        with pytest.raises(
            kombu.exceptions.DecodeError, match="a task message is not sealed with a key"
        ):
            kombu.serialization.loads('{"a": 1}', content_type, encoding, [CONTENT_TYPE])
    finally:
        kombu.serialization.unregister(SERIALIZER)
