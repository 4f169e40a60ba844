"""Entries: what is altered, unsigned or malformed is refused with its reason, and never read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.intake import envelope
from tasks.intake.envelope import (
    MAX_BYTES,
    EntryRefusedError,
    NewerError,
    NewerFormError,
    SignedButNoKeyError,
    make_body,
    open_entry,
    sign,
)

KEY, OLD, OTHER = (bytes([number]) * 32 for number in (1, 2, 3))
NOW = 1_795_651_200.25
REQUESTS = [{"path": "/mnt/ünï/🎬.exr", "size": 1, "parts": [1, 2.5, None, True]}]


def entry_of(
    requests: Sequence[dict[str, Any]] = REQUESTS, keys: Sequence[bytes] = (KEY,)
) -> bytes:
    return sign(make_body(requests, NOW, "node7"), keys)


def signed(body: bytes | str) -> bytes:
    return sign(body.encode() if isinstance(body, str) else body, [KEY])


def refusal(entry: bytes, keys: Sequence[bytes] = (KEY,)) -> EntryRefusedError:
    with pytest.raises(EntryRefusedError) as caught:
        open_entry(entry, keys)
    return caught.value


@pytest.mark.parametrize("keys", [(), (KEY,), (KEY, OLD)], ids=["unsigned", "one key", "two keys"])
def test_an_entry_says_what_was_put_into_it(keys: tuple[bytes, ...]) -> None:
    opened = open_entry(entry_of(keys=keys), keys)

    assert (opened.asked_at, opened.host, opened.requests) == (NOW, "node7", REQUESTS)
    assert re.fullmatch("[0-9a-f]{32}", opened.id)


def test_an_entry_may_say_who_asked_and_a_former_one_does_not() -> None:
    named = sign(make_body(REQUESTS, NOW, "node7", "ada"), [KEY])

    assert (open_entry(named, [KEY]).user, open_entry(entry_of(), [KEY]).user) == ("ada", "")
    for user in ("a\nb", "x" * 256, 7):
        body = json.dumps({**json.loads(make_body(REQUESTS, NOW, "node7")), "user": user})
        assert refusal(signed(body)).reason == "its user is not a name"


def test_each_body_has_an_id_of_its_own() -> None:
    ids = {open_entry(entry_of(), [KEY]).id for _ in range(100)}

    assert len(ids) == 100


def test_an_entry_is_a_line_and_json() -> None:
    head, _, body = entry_of(keys=()).partition(b"\n")

    assert head == b"farmhaul/1 -"
    assert json.loads(body).keys() == {"id", "asked_at", "host", "requests"}
    assert re.fullmatch(rb"farmhaul/1 [0-9a-f]{64}", entry_of().partition(b"\n")[0])


def test_a_path_that_is_not_unicode_travels() -> None:
    [request] = open_entry(entry_of([{"path": "/mnt/\udcff.exr"}]), [KEY]).requests

    assert request == {"path": "/mnt/\udcff.exr"}


def test_while_keys_change_both_are_accepted_and_the_newest_signs() -> None:
    before, after = entry_of(keys=(OLD,)), entry_of(keys=(KEY, OLD))

    assert open_entry(before, [KEY, OLD]).host == "node7"
    assert open_entry(after, [KEY]).host == "node7"
    assert "its signature does not fit" in refusal(after, [OLD]).reason


def test_every_altered_byte_is_refused() -> None:
    entry = entry_of()
    for place in range(len(entry)):
        for bit in (1, 0x20, 0x80):
            changed = bytearray(entry)
            changed[place] ^= bit
            with pytest.raises(EntryRefusedError):
                open_entry(bytes(changed), [KEY])


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry + b" ",
        lambda entry: entry[:-1],
        lambda entry: entry[:40],
        lambda entry: b"",
        lambda entry: entry.replace(b"\n", b"\r\n", 1),
        lambda entry: b" " + entry,
        lambda entry: entry.replace(b"farmhaul/1 ", b"farmhaul/1 -\n", 1),
    ],
    ids=["longer", "shorter", "cut in the head", "empty", "CRLF", "blank before", "two heads"],
)
def test_an_entry_of_another_form_is_refused(change: Any) -> None:
    assert refusal(change(entry_of())).reason


def test_an_unsigned_entry_is_refused_where_there_is_a_key() -> None:
    error = refusal(entry_of(keys=()))

    assert (error.reason, error.host) == ("it is not signed", "node7")
    assert str(error) == "an entry of node7 was refused: it is not signed"


def test_a_signed_entry_is_left_to_workers_with_a_key() -> None:
    assert isinstance(refusal(entry_of(), ()), SignedButNoKeyError)


def test_the_entry_of_a_stranger_is_refused() -> None:
    error = refusal(entry_of(keys=(OTHER,)))

    assert not isinstance(error, SignedButNoKeyError)
    assert (error.reason, error.host) == (
        "its signature does not fit: another key, or altered",
        "node7",
    )


@pytest.mark.parametrize("version", [b"farmhaul/2", b"farmhaul/10", b"farmhaul/9999"])
def test_a_newer_form_is_told_apart(version: bytes) -> None:
    error = refusal(entry_of().replace(b"farmhaul/1", version, 1))

    assert isinstance(error, NewerFormError)
    assert not error.is_verified
    assert error.host == "node7"


def test_an_envelope_of_a_newer_version_is_told_apart() -> None:
    error = refusal(signed(body_with(requests='[{}],"extra":1')))

    assert isinstance(error, NewerError)
    assert error.is_verified


@pytest.mark.parametrize(
    "version", [b"farmhaul/0", b"farmhaul/", b"farmhaul/99999", b"Farmhaul/1", b"", b"gAAAAA"]
)
def test_what_is_no_entry_is_refused(version: bytes) -> None:
    error = refusal(entry_of().replace(b"farmhaul/1", version, 1))

    assert (error.reason, error.host) == (
        "it is not an entry of this version of farmhaul",
        "node7",
    )


def test_a_signature_of_another_version_does_not_fit() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envelope, "VERSION", b"farmhaul/2")
        entry = entry_of()

    assert "signature" in refusal(entry.replace(b"farmhaul/2", b"farmhaul/1", 1)).reason


def test_a_body_of_the_largest_size_is_read_and_a_larger_one_is_not() -> None:
    empty = make_body([{"path": ""}], NOW, "node7")
    fits, too_large = (
        make_body([{"path": "x" * (MAX_BYTES - len(empty) + more)}], NOW, "node7")
        for more in (0, 1)
    )

    assert len(open_entry(signed(fits), [KEY]).requests[0]["path"]) == MAX_BYTES - len(empty)
    assert "more than 16777216 bytes" in refusal(signed(too_large)).reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"id":"\xff"}', "it is not UTF-8 text"),
        (make_body(REQUESTS, NOW, "node7").decode().encode("utf-16"), "it is not UTF-8 text"),
        (b"\xef\xbb\xbf" + make_body(REQUESTS, NOW, "node7"), "it is not JSON"),
        (b"", "it is not JSON"),
        (b"{", "it is not JSON"),
        ("[" * 200_000, "it is nested too deeply"),
        ('{"a":' * 200_000, "it is nested too deeply"),
        ('{"id":' + "1" * 10_000 + "}", "it is not JSON"),
        ("[]", "it does not have exactly the fields of an envelope"),
        ("null", "it does not have exactly the fields of an envelope"),
        ("{}", "it does not have exactly the fields of an envelope"),
    ],
)
def test_a_signed_body_that_is_no_envelope_is_refused(body: bytes | str, reason: str) -> None:
    assert refusal(signed(body)).reason == reason


def body_with(**fields: str) -> str:
    """Return a body in which fields have other JSON texts."""
    texts = {"host": '"n"', "id": f'"{"a" * 32}"', "asked_at": "1.5", "requests": "[{}]", **fields}
    return "{" + ",".join(f'"{name}":{text}' for name, text in texts.items()) + "}"


def test_a_small_body_is_read() -> None:
    assert open_entry(signed(body_with()), [KEY]) == ("a" * 32, 1.5, "n", [{}], "")


@pytest.mark.parametrize(
    ("field", "text", "reason"),
    [
        ("asked_at", "NaN", "it has a number that is not finite"),
        ("asked_at", "Infinity", "it has a number that is not finite"),
        ("asked_at", "-Infinity", "it has a number that is not finite"),
        ("asked_at", "1e999", "it has a number that is too large"),
        ("asked_at", '"1795651200"', "its time is not a time"),
        ("asked_at", "true", "its time is not a time"),
        ("asked_at", "null", "its time is not a time"),
        ("asked_at", "0", "its time is not a time"),
        ("asked_at", "-1", "its time is not a time"),
        ("asked_at", "100000000000", "its time is not a time"),
        ("asked_at", "1" * 4000, "its time is not a time"),
        ("id", '"A"', "its id is not 32 hexadecimal digits"),
        ("id", f'"{"A" * 32}"', "its id is not 32 hexadecimal digits"),
        ("id", f'"{"a" * 32}\\n"', "its id is not 32 hexadecimal digits"),
        ("id", "1", "its id is not 32 hexadecimal digits"),
        ("host", '""', "its host is not a name"),
        ("host", "7", "its host is not a name"),
        ("host", '"a\\u001b[2J"', "its host is not a name"),
        ("host", '"a\\ud800"', "its host is not a name"),
        ("host", f'"{"a" * 256}"', "its host is not a name"),
        ("requests", "[]", "it has no requests"),
        ("requests", "{}", "it has no requests"),
        ("requests", '"[]"', "it has no requests"),
        ("requests", "[{},7]", "a request is not an object"),
        ("requests", '[{"a":1,"a":2}]', "it has a field twice"),
        ("requests", '[{"a":[NaN]}]', "it has a number that is not finite"),
        ("requests", '[{}],"id":"x"', "it has a field twice"),
    ],
)
def test_a_field_of_another_form_is_refused(field: str, text: str, reason: str) -> None:
    assert refusal(signed(body_with(**{field: text}))).reason == reason


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ('"node7"', "node7"),
        ('"a\\u001b"', ""),
        ('"a\x1b"', ""),
        ('"\u202e"', ""),
        ('"nöde"', "nöde"),
        (f'"{"a" * 256}"', ""),
        ("7", ""),
    ],
)
def test_the_log_gets_the_host_only_if_it_is_a_plain_name(host: str, shown: str) -> None:
    assert refusal(signed(body_with(host=host)), [OTHER]).host == shown


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(body: bytes) -> None:
    for entry in (body, b"farmhaul/1 -\n" + body, signed(body)):
        for keys in ((), (KEY,)):
            with pytest.raises(EntryRefusedError):
                open_entry(entry, keys)
