"""Comparing a file with the object of a store: by its ETag, or by its bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tasks.transfer.compare import Pair, compare
from tasks.transfer.models import MIB
from tasks.transfer.put import store_session
from tests.unit.conftest import new_id
from tests.unit.odd_server import OddServer, http

CONTENT = os.urandom(1 << 16) * 321  # 20 MiB and some


def md5_tag(content: bytes) -> str:
    """Return the ETag of an object that came in one PUT."""
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def joined(content: bytes, part_bytes: int) -> str:
    """Return the ETag of an object that came in parts."""
    parts = [content[start : start + part_bytes] for start in range(0, len(content), part_bytes)]
    md5s = b"".join(hashlib.md5(part, usedforsecurity=False).digest() for part in parts)
    return f'"{hashlib.md5(md5s, usedforsecurity=False).hexdigest()}-{len(parts)}"'


def first_byte(
    etag: str, size: int = len(CONTENT), headers: Mapping[str, str] | None = None
) -> bytes:
    span = {"Content-Range": f"bytes 0-0/{size}", "ETag": etag, **(headers or {})}
    return http("206 Partial Content", b"x", span)


class Compare:
    """A file, and the answers of a store about it."""

    def __init__(self, folder: Path, server: OddServer) -> None:
        self.path = folder / "a.mov"
        self.path.write_bytes(CONTENT)
        self.server = server
        self.roots = [str(folder)]

    def __call__(
        self, *answers: bytes, is_ours: bool = True, download: bool = False
    ) -> tuple[str, str]:
        self.server.answers = list(answers)
        url = f"{self.server.url}/bucket/key?X-Amz-Signature=abc"
        pair = Pair(str(self.path), new_id(), is_located=True, is_ours=is_ours)
        found = compare(pair, lambda _: url, store_session(2), roots=self.roots, download=download)
        return found.state, found.why


@pytest.fixture
def comparing(root: Path, odd: OddServer) -> Compare:
    return Compare(root, odd)


def test_the_md5_of_one_put_tells(comparing: Compare) -> None:
    assert comparing(first_byte(md5_tag(CONTENT))) == ("same", "")
    assert comparing(first_byte(md5_tag(b"other"))) == ("differs", "")
    assert comparing(first_byte(md5_tag(CONTENT), 7))[0] == "size differs"


@pytest.mark.parametrize("part_bytes", [8 * MIB, 16 * MIB, 4 * MIB])
def test_the_md5_of_the_parts_md5s_tells(comparing: Compare, part_bytes: int) -> None:
    assert comparing(first_byte(joined(CONTENT, part_bytes))) == ("same", "")
    assert comparing(first_byte(joined(b"y" + CONTENT[1:], part_bytes))) == ("differs", "")


@pytest.mark.parametrize("part_mib", [1, 2, 5, 8, 10, 15, 16, 20, 64])
def test_parts_of_other_programs_are_recognized(comparing: Compare, part_mib: int) -> None:
    tag = joined(CONTENT, part_mib * MIB)
    assert comparing(first_byte(tag), is_ours=False) == ("same", "")
    assert comparing(first_byte(joined(CONTENT[1:] + b"y", 8 * MIB)), is_ours=False)[0] != "same"


def test_parts_of_another_program_may_have_had_any_size(comparing: Compare) -> None:
    tag = joined(CONTENT, 9 * MIB)
    assert comparing(first_byte(tag), is_ours=False)[0] == "not compared"
    tag = joined(CONTENT, 2_900_000)  # no power of two makes so many
    assert comparing(first_byte(tag)) == (
        "not compared",
        "another program has sent it in parts of an unknown size",
    )


@pytest.mark.parametrize(
    ("content", "state"), [(CONTENT, "same"), (b"z" * len(CONTENT), "differs")]
)
def test_bytes_without_an_md5_are_compared_with_download_alone(
    comparing: Compare, content: bytes, state: str
) -> None:
    encrypted = {"x-amz-server-side-encryption": "aws:kms"}
    answer = first_byte(md5_tag(CONTENT), headers=encrypted)
    whole = http(body=content, headers={"ETag": md5_tag(content), **encrypted})

    assert comparing(answer) == ("not compared", "the store has no MD5 of it")
    assert comparing(answer, whole, download=True) == (state, "")


def test_an_object_that_is_gone_is_missing_in_ftrack(comparing: Compare) -> None:
    gone = http("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>", {})

    assert comparing(gone)[0] == "missing in ftrack"


def test_a_file_that_nobody_may_read_is_named(comparing: Compare) -> None:
    comparing.roots = ["/mnt/prod"]
    assert comparing()[0] == "not readable"
    comparing.path.unlink()
    comparing.path.mkdir()
    assert comparing()[0] == "not readable"
    assert comparing.server.requests == []


def test_two_empty_files_are_the_same(comparing: Compare) -> None:
    comparing.path.write_bytes(b"")
    nothing = http("416 Range Not Satisfiable", b"", {"Content-Range": "bytes */0"})

    assert comparing(nothing)[0] == "same"


def test_an_object_that_was_shortened_meanwhile_differs(comparing: Compare) -> None:
    whole = http("200 OK", CONTENT[:-1], {"ETag": '"no md5"'})

    assert comparing(first_byte('"no md5"'), whole, download=True)[0] == "differs"


@pytest.mark.parametrize(
    ("identifiers", "size", "state"),
    [
        (["{path}"], 6, "same"),
        (["a.mov"], 6, "same"),
        (["other/a.mov", "a.mov"], 6, "same"),
        (["ha.mov"], 6, "differs"),
        (["a.mov"], 5, "size differs"),
        ([], 6, "missing in ftrack"),
    ],
)
def test_of_a_file_that_is_not_uploaded_path_and_size_are_compared(
    root: Path, identifiers: list[str], size: int, state: str
) -> None:
    path = root / "a.mov"
    path.write_bytes(b"pixels")
    known = [one.format(path=path) for one in identifiers]
    pair = Pair(str(path), new_id(), is_path_alone=True, identifiers=known, registered_bytes=size)

    assert compare(pair, lambda _: "", store_session(2), roots=[str(root)]).state == state
