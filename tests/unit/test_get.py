"""The GET of a file: what odd stores and servers answer, and what is on disk after it."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.transfer.errors import (
    FatalError,
    InterceptedError,
    ServiceUnavailableError,
    UnexpectedAnswerError,
    UrlRefusedError,
)
from tasks.transfer.get import Fetched, get_file
from tasks.transfer.lookup import ComponentFile
from tasks.transfer.part_file import BeingFetchedError
from tasks.transfer.put import store_session
from tasks.transfer.signed_get import signed_url
from tests.unit.conftest import new_id
from tests.unit.odd_server import OddServer, http

#: Linux' own number of "not supported", which some file systems let through.
ENOTSUPP = 524
CONTENT = b"0123456789" * 1000
KEY = "secret-key"


def md5_tag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def whole(content: bytes = CONTENT, etag: str = "") -> bytes:
    return http(body=content, headers={"ETag": etag or md5_tag(content)})


def rest(start: int, content: bytes = CONTENT, etag: str = "") -> bytes:
    span = f"bytes {start}-{len(content) - 1}/{len(content)}"
    headers = {"Content-Range": span, "ETag": etag or md5_tag(content)}
    return http("206 Partial Content", content[start:], headers)


class Node:
    """A folder, and a file that is to come into it."""

    def __init__(self, path: Path, server: OddServer) -> None:
        self.path = path
        self.server = server
        self.file = ComponentFile(new_id(), "plate.exr")
        self.part = path / f".{self.file.component_id}.part"
        self.etag = path / f".{self.file.component_id}.etag"
        self.folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def get(self, *answers: bytes) -> Fetched:
        self.server.answers = list(answers)
        url = f"{self.server.url}/bucket/key?X-Amz-Signature=abc"
        return get_file(self.file, self.folder, lambda _: url, store_session(2))

    def begun(self, content: bytes, etag: str) -> None:
        self.part.write_bytes(content)
        self.etag.write_text(etag)

    @property
    def content(self) -> bytes:
        return (self.path / "plate.exr").read_bytes()


@pytest.fixture
def node(tmp_path: Path, odd: OddServer) -> Iterator[Node]:
    made = Node(tmp_path, odd)
    yield made
    os.close(made.folder)


def test_a_file_without_a_name_is_refused_before_anything_is_asked(node: Node) -> None:
    node.file = ComponentFile(new_id(), "", "it has no name")

    with pytest.raises(FatalError, match="it has no name"):
        node.get()

    assert node.server.requests == []
    assert [*node.path.iterdir()] == []


def test_a_part_that_was_begun_is_continued_and_checked_as_a_whole(node: Node) -> None:
    node.begun(CONTENT[:5000], md5_tag(CONTENT))

    assert node.get(rest(4999)) == Fetched("fetched", len(CONTENT))

    assert node.content == CONTENT
    assert node.server.requests[0].header(b"Range") == b"bytes=4999-"
    assert node.server.requests[0].header(b"If-Range") == md5_tag(CONTENT).encode()
    assert [path.name for path in node.path.iterdir()] == ["plate.exr"]


def test_a_part_that_was_whole_already_needs_no_other_range(node: Node) -> None:
    node.begun(CONTENT, md5_tag(CONTENT))

    node.get(rest(len(CONTENT) - 1))

    assert node.content == CONTENT


def test_a_whole_answer_in_place_of_a_range_starts_over(node: Node) -> None:
    node.begun(b"x" * 5000, '"of-another-state"')

    node.get(whole())

    assert node.content == CONTENT


@pytest.mark.parametrize(
    "answer",
    [
        rest(4999, etag='"0-2"'),
        rest(100),
        http("416 Range Not Satisfiable", headers={"Content-Range": "bytes */10"}),
    ],
    ids=["another state", "another range", "no range"],
)
def test_a_range_of_something_else_is_not_put_together(node: Node, answer: bytes) -> None:
    node.begun(CONTENT[:5000], md5_tag(CONTENT))
    with pytest.raises(UnexpectedAnswerError, match="from the start"):
        node.get(answer)

    node.get(whole())

    assert b"Range" not in dict(node.server.requests[1].headers)
    assert node.content == CONTENT


def test_a_part_with_a_bit_flipped_is_fetched_anew(node: Node) -> None:
    node.begun(b"x" + CONTENT[1:5000], md5_tag(CONTENT))
    with pytest.raises(UnexpectedAnswerError, match="MD5"):
        node.get(rest(4999))
    assert not (node.path / "plate.exr").exists()

    node.get(whole())

    assert node.content == CONTENT


@pytest.mark.parametrize("etag", [None, 'W/"weak"'], ids=["no part", "weak"])
def test_without_a_strong_etag_the_whole_file_is_fetched(node: Node, etag: str | None) -> None:
    if etag is not None:
        node.begun(CONTENT[:5000], etag)

    node.get(whole())

    assert b"Range" not in dict(node.server.requests[0].headers)
    assert node.content == CONTENT


def test_an_empty_part_asks_for_the_whole_file(node: Node) -> None:
    node.begun(b"", md5_tag(CONTENT))

    node.get(whole())

    assert b"Range" not in dict(node.server.requests[0].headers)


def test_a_part_is_continued_under_an_etag_that_is_no_md5(node: Node) -> None:
    node.begun(CONTENT[:5000], '"0-2"')

    node.get(rest(4999, etag='"0-2"'))

    assert node.content == CONTENT


def test_a_stale_part_leaves_none_of_its_bytes_behind(node: Node) -> None:
    node.begun(b"x" * 20_000, '"of-another-state"')

    with pytest.raises(ServiceUnavailableError):
        node.get(whole()[:-4000])

    assert node.part.read_bytes() == CONTENT[:6000]


@pytest.mark.parametrize("etag", ["", '"0-2"'], ids=["md5", "no md5"])
def test_a_file_that_is_here_already_is_not_fetched(node: Node, etag: str) -> None:
    (node.path / "plate.exr").write_bytes(CONTENT)
    node.etag.write_text("of a download that was stopped")

    assert node.get(rest(0, etag=etag)) == Fetched("present", len(CONTENT))

    assert len(node.server.requests) == 1
    assert [path.name for path in node.path.iterdir()] == ["plate.exr"]


@pytest.mark.parametrize(
    "here", [CONTENT[:-1], CONTENT + b"0", b"x" + CONTENT[1:]], ids=["short", "long", "other"]
)
def test_a_target_with_other_bytes_is_replaced(node: Node, here: bytes) -> None:
    (node.path / "plate.exr").write_bytes(here)

    assert node.get(rest(0), whole()) == Fetched("fetched", len(CONTENT))

    assert node.content == CONTENT


def test_a_file_that_is_newer_than_the_request_is_left_alone(node: Node) -> None:
    """So somebody who sends an old request once more overwrites no work."""
    target = node.path / "plate.exr"
    target.write_bytes(b"newer work")
    now = target.stat().st_mtime
    url = f"{node.server.url}/bucket/key"

    node.server.answers = [rest(0)]
    with pytest.raises(FatalError, match="was written after it was asked for; fetch it again"):
        get_file(node.file, node.folder, lambda _: url, store_session(2), asked_at=now - 1)
    assert target.read_bytes() == b"newer work"

    node.server.answers = [rest(0), whole()]
    get_file(node.file, node.folder, lambda _: url, store_session(2), asked_at=now + 1)
    assert node.content == CONTENT


def test_a_file_that_comes_while_another_of_its_name_is_fetched_stays(node: Node) -> None:
    """Two components of one name, each asked for by itself: the one that is first is not lost."""
    target = node.path / "plate.exr"
    node.server.answers = [rest(0), whole()]
    url = f"{node.server.url}/bucket/key"

    def comes() -> None:
        target.write_bytes(b"the first one's")

    asked_at = time.time() - 60
    with pytest.raises(FatalError, match="was written after it was asked for"):
        get_file(node.file, node.folder, lambda _: url, store_session(2), comes, asked_at=asked_at)

    assert target.read_bytes() == b"the first one's"
    assert os.listdir(node.path) == ["plate.exr"]


def test_what_follows_the_last_byte_is_not_waited_for(node: Node) -> None:
    """Trailers without end would keep a thread busy for ever; here, nothing ends the response."""
    size = len(CONTENT)
    head = f"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-{size - 1}/{size}\r\n"
    head += f"Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n"
    node.server.answers = [head.encode() + CONTENT + b"\r\n"]
    url = f"{node.server.url}/bucket/key"

    fetched = get_file(node.file, node.folder, lambda _: url, store_session(2))

    assert fetched == Fetched("fetched", size)
    assert node.content == CONTENT


def test_a_download_that_is_cancelled_stops_at_the_next_block(node: Node) -> None:
    def cancel() -> None:
        raise FatalError("cancelled")

    node.server.answers = [whole()]
    with pytest.raises(FatalError, match="cancelled"):
        get_file(node.file, node.folder, lambda _: node.server.url, store_session(1), cancel)
    assert not (node.path / "plate.exr").exists()

    node.get(rest(len(CONTENT) - 1))  # what had arrived is continued
    assert node.server.requests[-1].header(b"Range") == f"bytes={len(CONTENT) - 1}-".encode()
    assert node.content == CONTENT


@pytest.mark.parametrize(
    ("number", "is_kept"),
    [
        (errno.EIO, True),
        (errno.ESTALE, True),
        (errno.ENOSPC, False),
        (errno.EDQUOT, False),
        (errno.EFBIG, False),
    ],
)
def test_only_a_full_disk_loses_what_has_arrived(
    node: Node, monkeypatch: pytest.MonkeyPatch, number: int, is_kept: bool
) -> None:
    def refuse(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", refuse)

    with pytest.raises(FatalError, match=os.strerror(number)):
        node.get(whole())

    assert {*node.path.iterdir()} == ({node.part, node.etag} if is_kept else set())


def test_a_block_that_does_not_fit_is_no_error_of_the_store(node: Node) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT) // 2, hard))
    try:
        with pytest.raises(FatalError, match="cannot be written: File too large"):
            node.get(whole())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert [*node.path.iterdir()] == []


def test_a_file_that_comes_fast_leaves_no_note_of_its_etag(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill costs it less than the note: making and removing a file takes as long as its MD5."""
    seen = []
    node.server.answers = [whole(), whole()]
    url = f"{node.server.url}/bucket/key"

    def look() -> None:
        seen.append(node.etag.exists())

    get_file(node.file, node.folder, lambda _: url, store_session(2), look)
    monkeypatch.setattr("tasks.transfer.part_file.NOTE_AFTER_S", -1)
    (node.path / "plate.exr").unlink()
    get_file(node.file, node.folder, lambda _: url, store_session(2), look)

    assert seen == [False, True]
    assert os.listdir(node.path) == ["plate.exr"]


def test_the_note_of_an_older_version_does_not_stay(node: Node) -> None:
    """The bytes that arrive would be taken for that version's after a kill."""
    node.etag.write_text('"of-another-state"')
    node.server.answers = [whole()]
    url = f"{node.server.url}/bucket/key"
    seen = []

    get_file(
        node.file,
        node.folder,
        lambda _: url,
        store_session(2),
        lambda: seen.append(node.etag.read_text()),
    )

    assert seen == [md5_tag(CONTENT)]


def test_a_file_has_its_name_on_the_disk_before_it_counts_as_fetched(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[list[str]] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(sorted(os.listdir(node.path)))

    monkeypatch.setattr("os.fsync", note)

    node.get(whole())

    assert synced == [[node.part.name], ["plate.exr"]]


def test_an_answer_cut_short_is_kept_for_the_next_try(node: Node) -> None:
    with pytest.raises(ServiceUnavailableError):
        node.get(whole()[:-4000])

    assert node.part.read_bytes() == CONTENT[:6000]
    assert node.etag.read_text() == md5_tag(CONTENT)


@pytest.mark.parametrize("etag", ['"0123456789abcdef0123456789abcdef-3"', 'W/"weak"'])
def test_an_etag_that_is_no_md5_is_not_compared(node: Node, etag: str) -> None:
    node.get(whole(etag=etag))

    assert node.content == CONTENT


def test_the_etag_of_an_object_encrypted_by_kms_is_not_compared(node: Node) -> None:
    headers = {"ETag": f'"{"0" * 32}"', "x-amz-server-side-encryption": "aws:kms"}

    node.get(http(body=CONTENT, headers=headers))

    assert node.content == CONTENT


def test_a_symlink_at_the_target_is_replaced_and_not_followed(
    node: Node, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other") / "precious"
    other.write_bytes(b"precious")
    (node.path / "plate.exr").symlink_to(other)

    node.get(whole())

    assert other.read_bytes() == b"precious"
    assert not (node.path / "plate.exr").is_symlink()


def test_a_directory_in_the_place_of_the_target_is_told(node: Node) -> None:
    (node.path / "plate.exr").mkdir()

    with pytest.raises(FatalError, match=r"written: Is a directory \(plate\.exr\); remove it$"):
        node.get(rest(0), whole())


@pytest.mark.parametrize("suffix", ["part", "etag"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/etc/none")])
def test_what_is_in_the_way_neither_hangs_nor_is_written(
    node: Node, make: Callable[[Path], None], suffix: str
) -> None:
    make(node.path / f".{node.file.component_id}.{suffix}")

    if suffix == "part":
        with pytest.raises(FatalError, match=r"cannot be written: .*\.part\b.*; remove it$"):
            node.get(whole())
    else:
        assert node.get(whole()).state == "fetched"
        assert node.content == CONTENT


def test_a_file_comes_where_its_name_has_another_inode(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[object] = []

    def never_same(*statuses: object) -> bool:
        compared.append(statuses)
        assert len(compared) < 100, "it would never end"
        return False

    monkeypatch.setattr("os.path.samestat", never_same)
    node.get(whole())

    assert node.content == CONTENT
    assert os.listdir(node.path) == ["plate.exr"]


NOT_SUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


@pytest.mark.parametrize(
    ("number", "calls"),
    [
        *((number, ["fcntl.flock"]) for number in (errno.EACCES, errno.EIO, ENOTSUPP)),
        *((number, ["fcntl.flock", "os.fsync"]) for number in NOT_SUPPORTED),
    ],
)
def test_a_file_comes_where_nothing_can_be_locked_or_synced(
    node: Node, monkeypatch: pytest.MonkeyPatch, number: int, calls: list[str]
) -> None:
    """As on Lustre without -o flock, SMB and FUSE."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    for call in calls:
        monkeypatch.setattr(call, refuse)

    with pytest.raises(ServiceUnavailableError):
        node.get(whole()[:-5])
    assert os.listdir(node.path) == [node.etag.name]
    node.get(whole())

    assert node.content == CONTENT
    assert os.listdir(node.path) == ["plate.exr"]


def test_who_comes_second_is_told_that_somebody_is_at_it(node: Node) -> None:
    def sign(_component_id: str) -> str:
        with pytest.raises(BeingFetchedError):
            node.get(whole())
        return f"{node.server.url}/key"

    node.server.answers = [whole()]
    get_file(node.file, node.folder, sign, store_session(2))

    assert node.content == CONTENT
    assert len(node.server.requests) == 1


def test_an_empty_file_is_a_file(node: Node) -> None:
    assert node.get(whole(b"")) == Fetched("fetched", 0)

    assert node.content == b""


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (http("403 Forbidden", b"<Code>AccessDenied</Code>"), UrlRefusedError),
        (http("400 Bad Request", b"<Code>ExpiredToken</Code>"), UrlRefusedError),
        (http("404 Not Found", b"<Code>NoSuchKey</Code>"), FatalError),
        (http("404 Not Found", b"<html>no backend"), InterceptedError),
        (http("404 Not Found", b"<Code>NoSuchBucket</Code>"), ServiceUnavailableError),
        (http("503 Slow Down"), ServiceUnavailableError),
        (http("302 Found", headers={"Location": "http://127.0.0.1:1/"}), InterceptedError),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nof no length", UnexpectedAnswerError),
        (http("206 Partial Content", b"of no range"), UnexpectedAnswerError),
    ],
    ids=[
        "refused",
        "expired",
        "gone",
        "a proxy's",
        "no bucket",
        "down",
        "elsewhere",
        "no length",
        "no range",
    ],
)
def test_what_the_store_says_otherwise_is_an_error_without_the_url(
    node: Node, answer: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        node.get(answer)

    assert "Signature" not in f"{caught.value} {caught.value!r}"
    assert not (node.path / "plate.exr").exists()


@pytest.mark.parametrize(
    ("location", "fits"),
    [
        ("https://store.example/key?signature", True),
        ("http://127.0.0.1:9/key", True),
        ("http://store.example/key", False),
        ("file:///etc/passwd", False),
        ("/relative", False),
        ("http://[/", False),
        ("", False),
    ],
)
def test_ftrack_may_send_to_https_alone_except_on_loopback(
    odd: OddServer, location: str, fits: bool
) -> None:
    odd.answers = [http("302 Found", headers={"Location": location})]

    try:
        given = signed_url(odd.url, "farm", KEY, new_id(), store_session(1))
    except UnexpectedAnswerError as error:
        given = str(error)

    assert (given == location) is fits
    assert KEY not in given
    assert f"apiKey={KEY}".encode() in odd.requests[0].line


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (http("400 Bad Request"), FatalError),
        (http("403 Forbidden"), FatalError),
        (http("404 Not Found"), FatalError),
        (http("502 Bad Gateway"), ServiceUnavailableError),
        (http(body=b"bytes"), UnexpectedAnswerError),
        (None, ServiceUnavailableError),
    ],
    ids=["bad", "forbidden", "unknown", "down", "no redirect", "silent"],
)
def test_an_error_of_ftrack_is_without_the_key_that_is_in_the_url(
    odd: OddServer, answer: bytes | None, error: type[Exception]
) -> None:
    odd.answers = [answer]

    with pytest.raises(error) as caught:
        signed_url(odd.url, "farm", KEY, new_id(), store_session(1))

    assert KEY not in f"{caught.value} {caught.value!r}"
    assert caught.value.__cause__ is None


def test_an_answer_of_ftrack_that_drips_ends_at_the_deadline(
    odd: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.transfer.signed_get.EXCHANGE_S", 0.5)

    def drip(connection: socket.socket) -> None:
        for byte in b"HTTP/1.1 302 Found" * 10:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    odd.answers = [drip]
    began = time.monotonic()

    with pytest.raises(ServiceUnavailableError):
        signed_url(odd.url, "user", KEY, new_id(), store_session(1))
    assert time.monotonic() - began < 6
