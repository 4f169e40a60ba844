"""Whatever a store answers, an upload or a download ends in one of our errors, or well."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.transfer.errors import InterceptedError, UploadError
from tasks.transfer.get import get_file
from tasks.transfer.lookup import ComponentFile
from tasks.transfer.models import FileIdentity, SignedPut, Transfer
from tasks.transfer.multipart import Part, put_part
from tasks.transfer.put import put_file, store_session
from tasks.transfer.signed_get import has_bytes
from tasks.transfer.targets import Target, derived_id
from tests.unit.odd_server import LINE_END, OddServer, http

ID = derived_id("component")
SECRET = "X-Amz-Signature=0f1e2d3c4b5a"


def raw(*lines: bytes, body: bytes = b"") -> bytes:
    return LINE_END.join((b"HTTP/1.1 200 OK", *lines)) + LINE_END * 2 + body


CHUNKED = b"Transfer-Encoding: chunked"
ODD = {
    # ETags
    "empty": http(headers={"ETag": ""}),
    "60 kB": http(headers={"ETag": f'"{"a" * 60_000}"'}),
    "8 bits": http(headers={"ETag": '"\xff\x80"'}),
    "twice": raw(b"Content-Length: 0", b'ETag: "a"', b'ETag: "b"'),
    "folded": raw(b"Content-Length: 0", b'ETag: "a"\r\n  b'),
    "control": raw(b"Content-Length: 0", b'ETag: "a\x00\x1b[2J\rb"'),
    # Headers
    "200 headers": http(headers={f"X-{number}": "y" for number in range(200)}),
    "a long header": http(headers={"X": "y" * 100_000}),
    "no colon": raw(b"Content-Length: 0", b"garbage"),
    "a negative length": raw(b"Content-Length: -5"),
    "two lengths": raw(b"Content-Length: 0", b"Content-Length: 5", body=b"12345"),
    "a list of lengths": raw(b"Content-Length: 3, 5", body=b"12345"),
    "5000 digits": raw(b"Content-Length: " + b"9" * 5000, body=b"12345"),
    "a superscript": raw(b"Content-Length: \xb2", body=b"12345"),
    "an underscore": raw(b"Content-Length: 1_0", body=b"1234567890"),
    "length and chunks": raw(b"Content-Length: 5", CHUNKED, body=b"5\r\n12345\r\n0\r\n\r\n"),
    "a negative chunk": raw(CHUNKED, body=b"-5\r\n12345\r\n0\r\n\r\n"),
    "a huge chunk": raw(CHUNKED, body=b"f" * 24 + b"\r\n12345\r\n0\r\n\r\n"),
    "a long chunk line": raw(CHUNKED, body=b"5;" + b"x" * 100_000 + b"\r\n12345\r\n0\r\n\r\n"),
    "packed 50 times": http(body=b"x", headers={"Content-Encoding": ",".join(["gzip"] * 50)}),
    "not packed": http(body=b"x", headers={"Content-Encoding": "gzip", "ETag": '"a"'}),
    # Status lines
    "no status": b"hello",
    "another version": b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status 99": b"HTTP/1.1 99 X\r\nContent-Length: 0\r\n\r\n",
    "status 1000": b"HTTP/1.1 1000 X\r\nContent-Length: 0\r\n\r\n",
    "status abc": b"HTTP/1.1 abc X\r\n\r\n",
    "status 999": http("999 \x1b[2J\xff"),
    "status 101": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
    "status 103": b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n",
    "a long reason": http(f"500 {'x' * 60_000}"),
    "cut short": b"HTTP/1.1 200 OK\r\nConte",
    "closed": None,
    # Redirects
    **{
        f"to {place[:20]!a}": http("307 Temporary Redirect", headers={"Location": place})
        for place in ("http://169.254.169.254/", "//x", "javascript:x", "https://[::1", "\xff")
    },
    # Pauses
    **{
        f"later {pause[:20]!a}": http("503 Slow Down", headers={"Retry-After": pause})
        for pause in ("9" * 400, "-5", "\xb2", "Fri, 31 Dec 99999 23:59:59 GMT", "x" * 60_000)
    },
    # XML
    **{
        f"XML {number}": http("403 Forbidden", body=body)
        for number, body in enumerate(
            (
                b"<Error><Code>\x1b[2J</Code></Error>",
                b'<!DOCTYPE l [<!ENTITY a "aaa">]><Error><Code>&a;&a;</Code></Error>',
                "<Error><Code>AccessDenied</Code></Error>".encode("utf-16"),
                b"<Code>" + b"A" * 50_000,
                b"<Code>BadDigest</Code><CalculatedDigest>\x1b[2J</CalculatedDigest>",
            )
        )
    },
    # Ranges
    **{
        f"range {span}": http("206 Partial", b"x", {"Content-Range": span, "ETag": '"a"'})
        for span in (
            *("bytes 0-0/10", "bytes 5-3/10", "bytes 0-0/*", "bytes 0-0/-1", "bytes 9-9/0"),
            *("items 0-1/2", "bytes 0-0/5, bytes 1-1/5", "bytes \xb2-3/4", ""),
            "bytes 0-99999999999999999999/9",
        )
    },
}


@pytest.fixture
def transfer(tmp_path: Path) -> Transfer:
    path = tmp_path.resolve() / "f.exr"
    path.write_bytes(b"x" * 100)
    status = path.stat()
    identity = FileIdentity(100, status.st_mtime_ns, status.st_ino, status.st_dev)
    return Transfer(ID, Target(ID), str(path), identity=identity, checksum="A" * 22 + "==")


def calls(transfer: Transfer, url: str, into: Path) -> list[Callable[[], object]]:
    """Return what is asked of a store, each as a call."""
    session = store_session(1)
    signed = replace(transfer, signed=SignedPut(url, {}))
    roots = [str(Path(transfer.path).parent)]
    part = Part(1, 0, 100)

    def get() -> object:
        folder = os.open(into, os.O_RDONLY)
        try:
            return get_file(ComponentFile(ID, "g.exr"), folder, lambda _: url, session)
        finally:
            os.close(folder)

    def resume() -> object:
        (into / f".{ID}.part").write_bytes(b"abc")
        (into / f".{ID}.etag").write_text('"a"')
        return get()

    return [
        lambda: put_file(signed, session, roots),
        lambda: put_part(transfer, part, url, session, roots=roots),
        get,
        resume,
        lambda: has_bytes(transfer, lambda _: url, session),
    ]


@pytest.mark.parametrize("name", ODD)
def test_an_odd_answer_of_a_store_is_an_error_like_any(
    name: str, transfer: Transfer, tmp_path: Path
) -> None:
    into = tmp_path / "into"
    into.mkdir()
    with OddServer() as odd:
        odd.answers = [ODD[name]]
        for call in calls(transfer, f"{odd.url}/key?{SECRET}", into):
            try:
                call()
            except UploadError as error:
                text = str(error)
                assert text.isprintable()
                assert len(text) < 1000
                assert SECRET not in text
        assert {request.line.split()[0] for request in odd.requests} == {b"PUT", b"GET"}
    assert sum(path.stat().st_size for path in into.iterdir()) < 1000


def test_the_page_of_a_proxy_becomes_no_file(transfer: Transfer, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    with OddServer() as odd:
        odd.answers = [http(body=b"<html>log in</html>", headers={"Content-Type": "text/html"})]
        for call in calls(transfer, f"{odd.url}/key", into):
            with pytest.raises(InterceptedError, match="with a page, not the store's own"):
                call()
        assert not (into / "g.exr").exists()
        # A page that somebody has uploaded has an ETag.
        odd.answers[0] = http(
            body=b"<html>", headers={"Content-Type": "text/html", "ETag": '"a-page"'}
        )
        calls(transfer, f"{odd.url}/key", into)[2]()
        assert (into / "g.exr").read_bytes() == b"<html>"
