"""compute_checksum: the MD5 of RFC 1864, and what a file is, read once."""

from __future__ import annotations

import base64
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.transfer.checksum import BLOCK_BYTES, compute_checksum, md5_of
from tasks.transfer.errors import (
    FileChangedError,
    FileNotReadyError,
    FileRefusedError,
    LeaseLostError,
)
from tasks.transfer.models import AskedFor, SignedPut, Transfer
from tasks.transfer.targets import Target
from tests.unit.conftest import Frame, digest_of, new_id

# RFC 1321, appendix A.5; RFC 1864 asks for the base64 of the 16 bytes.
VECTORS = {
    b"": "d41d8cd98f00b204e9800998ecf8427e",
    b"a": "0cc175b9c0f1b6a831c399e269772661",
    b"abc": "900150983cd24fb0d6963f7d28e17f72",
    b"message digest": "f96b697d7cb7938d525a2f31aaf161d0",
    b"abcdefghijklmnopqrstuvwxyz": "c3fcd3d76192e4007dfb496cca67e13b",
    b"1234567890" * 8: "57edf4a22be3c955ac49da2e2107b67a",
}


def unchecked(path: Path, *, allow_empty: bool = False) -> Transfer:
    return Transfer(new_id(), Target(new_id()), str(path), allow_empty=allow_empty)


@pytest.mark.parametrize("content", VECTORS, ids=lambda content: f"{len(content)} bytes")
def test_the_checksum_is_the_base64_md5_of_rfc_1864(content: bytes, frame: Frame) -> None:
    expected = base64.b64encode(bytes.fromhex(VECTORS[content])).decode()

    assert frame(content).checksum == expected


@pytest.mark.parametrize("size", [0, 1, 4095, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1])
def test_a_file_of_any_size_is_read_whole(size: int, frame: Frame) -> None:
    content = os.urandom(size)

    transfer = frame(content)

    assert transfer.checksum == digest_of(content)
    assert transfer.size_bytes == size


@pytest.mark.parametrize(
    "name",
    [
        "two words.exr",
        'a "quoted" name.exr',
        "ünï çödé.exr",
        "100%41 %s.exr",
        "🎬 take.exr",
        "x" * 196 + ".exr",
        "no_suffix",
    ],
)
def test_a_file_of_any_name_is_read(name: str, frame: Frame) -> None:
    transfer = frame(b"pixels", name)

    assert transfer.checksum == digest_of(b"pixels")
    assert transfer.file_name == name


def test_the_identity_is_what_stat_tells(frame: Frame) -> None:
    transfer = frame()
    status = Path(transfer.path).stat()

    identity = transfer.known_identity

    assert identity.size_bytes == status.st_size
    assert identity.mtime_ns == status.st_mtime_ns
    assert identity.inode == status.st_ino


def test_a_file_that_is_known_already_is_not_read_again(
    frame: Frame, roots: tuple[str, ...]
) -> None:
    known = replace(frame(), checksum="noted before", stored=True)

    assert compute_checksum(known, roots) is known


def test_a_changed_file_is_read_again_and_counts_as_not_stored(
    frame: Frame, roots: tuple[str, ...]
) -> None:
    stored = replace(frame(b"old"), stored=True, signed=SignedPut("https://x/y", {}))
    Path(stored.path).write_bytes(b"newer")

    fresh = compute_checksum(stored, roots)

    assert fresh.checksum == digest_of(b"newer")
    assert fresh.size_bytes == len(b"newer")
    assert not fresh.stored
    assert fresh.signed is None


def change_while_reading(path: Path, how: str) -> None:
    if how == "grows":
        with path.open("ab") as file:
            file.write(b"more")
    elif how == "shrinks":
        os.truncate(path, 1)
    elif how == "is touched":
        os.utime(path, ns=(1, 1))
    elif how == "is replaced":
        other = path.with_suffix(".tmp")
        other.write_bytes(path.read_bytes())
        other.replace(path)
    else:  # grows and is removed
        with path.open("ab") as file:
            file.write(b"more")
        path.unlink()


@pytest.mark.parametrize(
    "how", ["grows", "shrinks", "is touched", "is replaced", "grows and is removed"]
)
def test_a_file_that_changes_while_it_is_read_is_noticed(
    how: str, root: Path, roots: tuple[str, ...]
) -> None:
    path = root / "main.exr"
    path.write_bytes(bytes(3 * BLOCK_BYTES))
    once = iter([None])

    def check_lease() -> None:
        for _ in once:
            change_while_reading(path, how)

    with pytest.raises(FileChangedError, match="still being written"):
        compute_checksum(unchecked(path), roots, check_lease)


def test_a_file_that_is_removed_while_it_is_read_keeps_its_bytes(
    root: Path, roots: tuple[str, ...]
) -> None:
    path = root / "main.exr"
    content = os.urandom(2 * BLOCK_BYTES)
    path.write_bytes(content)

    checked = compute_checksum(unchecked(path), roots, lambda: path.unlink(missing_ok=True))

    assert checked.checksum == digest_of(content)


def test_reading_stops_at_the_next_block_once_the_lease_is_lost(
    root: Path, roots: tuple[str, ...]
) -> None:
    path = root / "main.exr"
    path.write_bytes(bytes(5 * BLOCK_BYTES))
    calls = []

    def check_lease() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise LeaseLostError("an upload")

    with pytest.raises(LeaseLostError):
        compute_checksum(unchecked(path), roots, check_lease)

    assert len(calls) == 2


def test_a_mount_that_fails_mid_file_is_a_file_not_ready() -> None:
    # Reading a process' memory at address 0 is an EIO of the system itself.
    with (
        open("/proc/self/mem", "rb", buffering=0) as broken,
        pytest.raises(FileNotReadyError, match=r"cannot read main\.exr: Input/output error"),
    ):
        md5_of(broken, "main.exr", 0, 100, lambda: None)


@pytest.mark.parametrize("size", [1, BLOCK_BYTES, BLOCK_BYTES + 5, 2 * BLOCK_BYTES + 5])
def test_a_part_is_hashed_without_the_bytes_around_it(size: int, root: Path) -> None:
    content = os.urandom(4 * BLOCK_BYTES)
    path = root / "main.mov"
    path.write_bytes(content)

    with path.open("rb") as file:
        md5_bytes = md5_of(file, str(path), 1000, size, lambda: None)

    assert base64.b64encode(md5_bytes).decode() == digest_of(content[1000 : 1000 + size])


def test_an_old_request_sends_no_other_bytes_than_a_worker_has_read(frame: Frame) -> None:
    transfer = frame(b"what was asked for")
    transfer = replace(transfer, asked=AskedFor(18, 1, at=time.time() - 2 * 86400))
    Path(transfer.path).write_bytes(b"what lies there now")

    with pytest.raises(FileRefusedError, match="has changed since it was asked for"):
        compute_checksum(transfer, [os.path.dirname(transfer.path)])
