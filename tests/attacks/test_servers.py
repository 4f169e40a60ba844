"""Whoever answers in the place of ftrack or of the store: lies, bombs, and answers that drip."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.config.settings import FtrackSettings
from tasks.stage import events
from tasks.transfer import addresses
from tasks.transfer.addresses import check_peer, is_barred, may_be_called
from tasks.transfer.errors import RetryableError, ServiceUnavailableError, UnexpectedAnswerError
from tasks.transfer.ftrack import MAX_RESPONSE_BYTES, FtrackClient
from tasks.transfer.get import get_file
from tasks.transfer.lookup import ComponentFile
from tasks.transfer.models import LARGE_BYTES, FileIdentity, SignedPut, Transfer, part_count
from tasks.transfer.put import put_file, store_session
from tasks.transfer.signing import sign
from tasks.transfer.targets import Target, derived_id
from tests.functional.event_hub import MAGIC
from tests.sandbox.process import CHECKOUT
from tests.unit.odd_server import OddServer, http

FAR, NEAR = "https://studio.ftrackapp.com", "http://127.0.0.1:8000"
ID = derived_id("component")
MD5_HEADER = {"Content-MD5": "CY9rzUYh03PK3k6DJie09g=="}


@pytest.fixture
def odd() -> Any:
    with OddServer() as server:
        yield server


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("https://store.example/bucket/key?X-Amz-Signature=a%2Fb", True),
        ("https://10.0.0.7:9000/bucket/key", True),  # a store of the studio's own
        ("https://[fd00::7]/bucket/key", True),
        ("http://store.example/key", False),
        ("http://10.0.0.1:6379/", False),
        ("http://127.0.0.1:6379/", False),  # only an ftrack on this machine may name it
        ("https://localhost:2375/", False),
        ("https://user:pw@store.example/key", False),
        ("https://store.example\\@10.0.0.1/key", False),
        ("https://169.254.169.254/latest/meta-data", False),
        ("https://[::ffff:169.254.169.254]/", False),
        ("https://[fe80::1%25eth0]/", False),
        ("https://[fd00:ec2::254]/", False),
        ("https://100.100.100.200/", False),
        ("https://192.0.0.192/", False),
        ("https://[fd20:ce::254]/", False),
        ("https://[64:ff9b::a9fe:a9fe]/", False),
        ("https://[2002:a9fe:a9fe::1]/", False),
        ("https://127.0.0.2:2375/", False),
        ("https://127.1/", False),
        ("https://0.0.0.0/", False),
        ("https://[::]/", False),
        ("https://[::ffff:127.0.0.1]/", False),
        ("https://localhost./", False),
        ("https://2852039166/", False),
        ("https://0xa9fea9fe/", False),
        ("https://store-7.example.7z/", True),
        ("https://metadata.google.internal/", False),
        ("https://metadata.google.internal./", False),
        ("https://store.example:0/", False),
        ("https://store.example:99999/", False),
        ("https:///key", False),
        ("https://", False),
        ("https://store.example/a b", False),
        ("https://store.example/\r\nHost: x", False),
        ("https://störe.example/", False),
        ("file:///etc/passwd", False),
        ("HTTPS://store.example/", False),
        (f"https://store.example/{'a' * 9000}", False),
    ],
)
def test_ftrack_may_send_files_only_to_a_store_that_encrypts(url: str, fits: bool) -> None:
    assert may_be_called(url, FAR) is fits


def test_only_an_ftrack_on_this_machine_may_name_a_store_on_it() -> None:
    for url in ("http://127.0.0.1:9/key", "http://localhost:9/key", "http://[::1]:9/key"):
        assert may_be_called(url, NEAR)
        assert not may_be_called(url, FAR)


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1%eth0", "::ffff:169.254.0.1"])
def test_what_no_store_can_be_at_is_barred(address: str) -> None:
    assert is_barred(address)
    assert not any(map(is_barred, ("10.0.0.1", "127.0.0.1", "2a00::1", "192.168.1.1", "fd00::1")))


def test_a_name_that_leads_to_a_barred_address_gets_no_byte(
    odd: OddServer, monkeypatch: pytest.MonkeyPatch, frame: Callable[..., Transfer]
) -> None:
    # As if the name of a store led to the metadata of the cloud: no test has such an address.
    monkeypatch.setattr(addresses, "is_barred", lambda address: address == "127.0.0.1")
    with pytest.raises(ServiceUnavailableError, match="which is no store's"):
        send(frame(), f"{odd.url}/key")
    assert odd.requests == []
    here, there = socket.socketpair()
    with here, there:
        check_peer(here)  # not of the network


def send(transfer: Transfer, url: str, **headers: str) -> None:
    signed = replace(transfer, signed=SignedPut(url, headers))
    folder = os.path.dirname(transfer.path)
    with store_session(1) as session:
        put_file(signed, session, [folder])


@pytest.fixture
def frame(tmp_path: Path) -> Callable[..., Transfer]:
    def make(size_bytes: int = 100) -> Transfer:
        path = tmp_path.resolve() / "f.exr"
        with path.open("wb") as file:
            file.truncate(size_bytes)
        status = path.stat()
        identity = FileIdentity(size_bytes, status.st_mtime_ns, status.st_ino, status.st_dev)
        return Transfer(ID, Target(ID), str(path), identity=identity, checksum="A" * 22 + "==")

    return make


@pytest.mark.parametrize(
    ("headers", "fits"),
    [
        (MD5_HEADER, True),
        ({"Content-Length": "100", "host": "store.example"}, True),
        ({"Transfer-Encoding": "chunked"}, False),
        ({"transfer-encoding": ""}, False),
        ({"Content-Length": "7"}, False),
        ({"content-length": "+100"}, False),
        ({"Host": "10.0.0.1"}, False),
        ({"Connection": "upgrade"}, False),
        ({"Upgrade": "h2c"}, False),
        ({"Expect": "100-continue"}, False),
        ({"TE": "trailers"}, False),  # codespell:ignore te
        ({"Proxy-Authorization": "Basic x"}, False),
        ({"X: y\r\nHost": "10.0.0.1"}, False),
        ({"X": "a\r\nTransfer-Encoding: chunked"}, False),
        ({"X": "a" * 20_000}, False),
        ({f"X-{n}": "a" * 100 for n in range(200)}, False),
        ({"X": 5}, False),
        ("Host: x", False),
    ],
    ids=lambda value: str(value)[:40],
)
def test_no_header_of_ftracks_changes_where_a_put_goes_or_ends(
    headers: object, fits: bool, odd: OddServer, frame: Callable[..., Transfer]
) -> None:
    odd.answers = [answer([{"url": "https://store.example/key", "headers": headers}])]
    [outcome] = signed_by(odd, frame())
    assert isinstance(outcome, Transfer if fits else UnexpectedAnswerError)


def test_no_part_goes_where_a_file_may_not(odd: OddServer, frame: Callable[..., Transfer]) -> None:
    count = part_count(LARGE_BYTES + 1)
    for url in ("http://10.0.0.1:6379/", "https://169.254.169.254/", "https://a:b@store/"):
        urls = [{"part_number": n, "signed_url": "https://store/"} for n in range(1, count)]
        urls.append({"part_number": count, "signed_url": url})
        odd.answers = [answer([{"upload_id": "one", "urls": urls}])]
        [outcome] = signed_by(odd, frame(LARGE_BYTES + 1))
        assert isinstance(outcome, UnexpectedAnswerError)
        assert "a:b" not in str(outcome)
        if url.startswith("http:"):
            assert "https alone, to no link-local address, and not to http://10.0.0.1" in str(
                outcome
            )


def answer(results: object) -> bytes:
    return http(body=json.dumps(results).encode())


def signed_by(odd: OddServer, *transfers: Transfer) -> list[object]:
    client = FtrackClient(odd.url, "farm", "a-key")
    with client.session:
        return [*sign(client, transfers, check=False).values()]


def test_an_answer_that_is_too_large_fails_its_own_upload_alone(
    odd: OddServer, frame: Callable[..., Transfer]
) -> None:
    bad, good = frame(), replace(frame(), upload_id=derived_id("good"))
    too_large = http(body=b" " * (MAX_RESPONSE_BYTES + 1))
    whole = {"url": "https://store.example/key", "headers": MD5_HEADER}

    def reply(connection: socket.socket) -> None:
        # The request of both, and then that of each: see bisect_failures.
        is_good = len(odd.requests) == 3
        connection.sendall(answer([whole]) if is_good else too_large)

    odd.answers = [reply]
    first, second = signed_by(odd, bad, good)

    assert isinstance(first, UnexpectedAnswerError)
    assert not isinstance(first, ServiceUnavailableError)  # which would count as an outage
    assert "too large" in str(first)
    assert isinstance(second, Transfer)


#: What a call of ftrack with this answer costs, in a process of its own: MB beyond those before it.
MEASURE = """
import resource, sys
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.errors import UploadError
client = FtrackClient(sys.argv[1], "farm", "a-key")
used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = used()
for _ in range(2):
    try:
        client.call([{"action": "query"}])
    except UploadError as error:
        print(type(error).__name__, used() - before)
"""


def test_no_bomb_of_ftracks_fills_the_memory(odd: OddServer) -> None:
    packed = gzip.compress(bytes(16 << 20), 1) * 40
    zeros = http(body=packed, headers={"Content-Encoding": "gzip"})
    lists = http(body=b"[" + b"[]," * (5 << 20) + b"[]]")
    odd.answers = [zeros, lists]
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, odd.url],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    found = [line.split() for line in run.stdout.splitlines()]
    assert [name for name, _ in found] == ["UnexpectedAnswerError"] * 2, run.stderr
    assert max(int(used_mb) for _, used_mb in found) < 150


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.transfer.hearing.PATIENCE_S", 0.3)
    monkeypatch.setattr("tasks.transfer.hearing.SLOWEST_BYTES_S", 1 << 40)


def drip(connection: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 400:
        connection.sendall(bytes([byte]))
        time.sleep(0.02)


def drip_the_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n")
    drip(connection)


def continue_for_ever(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def trail_for_ever(connection: socket.socket) -> None:
    head = b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.sendall(head + b"1\r\nx\r\n0\r\n")
    while True:
        connection.sendall(b"Name: value\r\n" * 100)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("how", [drip, drip_the_body, continue_for_ever, trail_for_ever])
def test_an_answer_of_the_store_that_drips_ends(
    how: Callable[[socket.socket], None],
    odd: OddServer,
    frame: Callable[..., Transfer],
    tmp_path: Path,
) -> None:
    odd.answers = [how]
    with pytest.raises(ServiceUnavailableError):
        send(frame(), f"{odd.url}/key")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with store_session(1) as session, pytest.raises(RetryableError):
            get_file(ComponentFile(ID, "g.exr"), folder, lambda _: f"{odd.url}/key", session)
    finally:
        os.close(folder)
    assert len(odd.requests) == 2


@pytest.mark.usefixtures("impatient")
def test_a_store_that_takes_a_file_byte_by_byte_is_left(frame: Callable[..., Transfer]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ended = threading.Event()

        def take() -> None:
            with listener.accept()[0] as taking:
                while taking.recv(16) and not ended.wait(0.01):
                    pass

        taker = threading.Thread(target=take)
        taker.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/key"
        transfer = replace(frame(50 << 20), signed=SignedPut(url, {}))
        with store_session(1) as session, pytest.raises(ServiceUnavailableError):
            put_file(transfer, session, [os.path.dirname(transfer.path)])
        ended.set()
        taker.join()


def test_a_fetch_writes_no_more_than_the_size_that_is_named(odd: OddServer, tmp_path: Path) -> None:
    ended = threading.Event()

    def stream(connection: socket.socket) -> None:
        sizes = b"Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + sizes)
        while not ended.is_set():
            connection.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")

    odd.answers = [stream]
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with store_session(1) as session, pytest.raises(RetryableError):
            get_file(ComponentFile(ID, "g.exr"), folder, lambda _: f"{odd.url}/key", session)
    finally:
        ended.set()
        os.close(folder)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2 << 20


def frame_for_ever(connection: socket.socket) -> None:
    connection.sendall(b"\x81\x7f" + (1 << 40).to_bytes(8, "big"))
    while True:
        connection.sendall(b"x" * 65536)


def fragments_for_ever(connection: socket.socket) -> None:
    connection.sendall(b"\x01\x01x")
    while True:
        connection.sendall(b"\x00\x7e\xff\xff" + b"x" * 65535)


def drip_a_frame(connection: socket.socket) -> None:
    connection.sendall(b"\x81\x7e\xff\xff")
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


@pytest.mark.parametrize("how", [frame_for_ever, fragments_for_ever, drip_a_frame])
def test_an_event_hub_that_never_stops_is_left(
    how: Callable[[socket.socket], None], odd: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(events, "MAX_REPLY_BYTES", 100_000)

    def upgrade(connection: socket.socket) -> None:
        key = odd.requests[-1].header(b"Sec-WebSocket-Key") + MAGIC
        accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
        answered = "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        connection.sendall(f"{answered}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
        how(connection)

    odd.answers = [http(body=b"a-session:60:60:websocket"), upgrade]
    hub = events._Hub(FtrackSettings(odd.url, "farm", "a-key"))
    with pytest.raises(Exception):  # noqa: B017, PT011 of websocket too; Events drops the event
        hub.publish([(ID, ID)])
    hub.close()
    assert hub._left_bytes > -20_000


@pytest.mark.parametrize("session", [b"../../api", b"a@evil.example/", b"a b", b"", b"a" * 20_000])
def test_the_session_of_an_event_hub_becomes_no_other_url(session: bytes, odd: OddServer) -> None:
    odd.answers = [http(body=session + b":60:60:websocket")]
    with pytest.raises((events.HubError, ValueError)):
        events._Hub(FtrackSettings(odd.url, "farm", "a-key"))
    assert len(odd.requests) == 1
