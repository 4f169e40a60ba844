"""The file that is uploaded is the one that was asked for."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.config.hook_settings import HookSettings
from tasks.config.remedies import explained
from tasks.intake.bodies import make_bodies
from tasks.intake.build import Options, build_requests
from tasks.intake.from_wire import from_wire
from tasks.intake.manifest import Entry
from tasks.intake.request import PublishRequest, UploadRequest
from tasks.records.requests import transfer_from_record
from tasks.transfer.asked import MAX_AGE_S, check_asked, check_changed, check_host, check_same
from tasks.transfer.checksum import compute_checksum
from tasks.transfer.errors import FileChangedError, FileRefusedError, FileShrunkError
from tasks.transfer.models import LARGE_BYTES, AskedFor, FileIdentity, Transfer
from tasks.transfer.targets import Target
from tests.unit.conftest import Frame, digest_of, new_id

NOW = 1_800_000_000.0
ASKED = AskedFor(100, 5 * 10**9, "", NOW)
SAME = FileIdentity(100, 5 * 10**9, 1, 1)


def test_the_same_file_is_accepted_at_any_time() -> None:
    check_asked("/a", ASKED, SAME, NOW + 10 * MAX_AGE_S)
    # As another file system shows the same time.
    check_asked("/a", ASKED, replace(SAME, mtime_ns=4 * 10**9), NOW + 10 * MAX_AGE_S)


@pytest.mark.parametrize(
    "other", [replace(SAME, size_bytes=101), replace(SAME, mtime_ns=7 * 10**9)]
)
def test_a_file_that_was_rendered_again_is_accepted_for_a_day(other: FileIdentity) -> None:
    check_asked("/a", ASKED, other, NOW + MAX_AGE_S)

    with pytest.raises(FileRefusedError) as caught:
        check_asked("/a", ASKED, other, NOW + MAX_AGE_S + 1)

    assert explained(caught.value) == (
        "/a has changed since it was asked for on 2027-01-15 08:00 UTC; enqueue it again"
    )


@pytest.mark.parametrize("age_s", [0, 2 * MAX_AGE_S])
def test_a_smaller_file_is_waited_for(age_s: float) -> None:
    with pytest.raises(FileShrunkError, match="had 100 bytes and has 99"):
        check_asked("/a", ASKED, replace(SAME, size_bytes=99), NOW + age_s)


def test_a_file_that_was_read_before_may_change_for_a_day_too() -> None:
    """Otherwise whoever sets an old record going again sends what lies at the path by now."""
    smaller, unseen = replace(SAME, size_bytes=99), AskedFor(at=NOW)
    for asked, found in ((ASKED, smaller), (unseen, smaller)):
        check_changed("/a", asked, SAME, found, NOW + MAX_AGE_S)
        with pytest.raises(FileRefusedError, match="has changed since it was asked for"):
            check_changed("/a", asked, SAME, found, NOW + MAX_AGE_S + 1)
        # The store got other bytes than were sent: it is read once more, however old that is.
        check_changed("/a", asked, replace(SAME, mtime_ns=-1), SAME, NOW + 2 * MAX_AGE_S)
    check_changed("/a", ASKED, smaller, SAME, NOW + 2 * MAX_AGE_S)
    # With --no-stat, it is the one that a worker saw on a mount with other steps of time.
    as_by_smb = replace(SAME, mtime_ns=SAME.mtime_ns // 100 * 100 + 100)
    check_changed("/a", AskedFor(at=NOW), SAME, as_by_smb, NOW + 2 * MAX_AGE_S)


def test_what_another_node_may_see_otherwise_is_named() -> None:
    for found in (SAME, replace(SAME, mtime_ns=4 * 10**9)):
        check_same("/a", ASKED, found)
    check_same("/a", AskedFor(at=NOW), replace(SAME, size_bytes=5))
    for found, what in (
        (replace(SAME, size_bytes=101), "size 100 → 101"),
        (replace(SAME, mtime_ns=0), "mtime 5000000000 → 0"),
    ):
        with pytest.raises(FileChangedError, match=f"not the file .*{what}.*older copy") as caught:
            check_same("/a", ASKED, found)
        assert caught.value.is_here


def test_without_a_size_any_contents_are_accepted() -> None:
    check_asked("/a", AskedFor(at=NOW), SAME, NOW + 2 * MAX_AGE_S)


def test_a_record_of_a_former_version_does_not_grow_old() -> None:
    check_asked("/a", replace(ASKED, at=None), replace(SAME, mtime_ns=0), NOW + 2 * MAX_AGE_S)


def test_a_file_of_one_host_is_read_there_alone() -> None:
    check_host("/a", replace(ASKED, host="node7"), "node7")
    check_host("/a", ASKED, "node8")
    with pytest.raises(FileRefusedError, match="on node7 alone, and this worker runs on node8"):
        check_host("/a", replace(ASKED, host="node7"), "node8")


def test_a_file_cut_off_after_its_enqueue_is_not_hashed(
    frame: Frame, roots: tuple[str, ...]
) -> None:
    transfer = asked_for(frame(b"0123456789"), 0)
    Path(transfer.path).write_bytes(b"0123")

    with pytest.raises(FileShrunkError):
        compute_checksum(transfer, roots)


def test_an_old_request_does_not_send_what_lies_there_now(
    frame: Frame, roots: tuple[str, ...]
) -> None:
    young, old = (asked_for(frame(b"old frame"), age_s) for age_s in (60, 2 * MAX_AGE_S))
    assert compute_checksum(old, roots).checksum == digest_of(b"old frame")
    Path(old.path).write_bytes(b"new frame")
    os.utime(old.path, (1, 1))

    with pytest.raises(FileRefusedError, match="has changed since it was asked for"):
        compute_checksum(old, roots)

    assert compute_checksum(young, roots).checksum == digest_of(b"new frame")


def test_a_file_that_was_read_in_time_may_finish_later(
    frame: Frame, roots: tuple[str, ...]
) -> None:
    """The day has passed since the file was read, because ftrack was away."""
    read = frame(b"rendered again")
    late = replace(read, asked=AskedFor(5, 1, "", time.time() - 2 * MAX_AGE_S))

    assert compute_checksum(late, roots) == late


def asked_for(checked: Transfer, age_s: float) -> Transfer:
    """Return a transfer as its record describes it before the file was read."""
    identity = checked.known_identity
    request = UploadRequest(
        checked.path,
        Target(new_id()),
        identity.size_bytes,
        identity.mtime_ns,
        asked_at=time.time() - age_s,
    )
    return transfer_from_record(request.upload_id, request.to_record())


def test_a_large_file_cut_off_after_its_enqueue_is_not_sent_in_parts(
    root: Path, roots: tuple[str, ...]
) -> None:
    path = root / "long.mov"
    with path.open("wb") as file:
        file.truncate(2 * LARGE_BYTES)
    status = path.stat()
    request = UploadRequest(str(path), Target(new_id()), status.st_size, status.st_mtime_ns)
    os.truncate(path, LARGE_BYTES + 1)

    with pytest.raises(FileShrunkError):
        compute_checksum(transfer_from_record(request.upload_id, request.to_record()), roots)


def test_a_frame_cut_off_while_it_was_spooled_is_not_hashed(
    root: Path, roots: tuple[str, ...]
) -> None:
    frames = [root / f"f.{number:04d}.exr" for number in (1, 2)]
    for frame_path in frames:
        frame_path.write_bytes(b"0123456789")
    settings = HookSettings.from_environment({"FARMHAUL_STORAGE_ROOTS": str(root)})
    entry = Entry(f"{root}/f.%04d.exr", version_id=new_id())
    spooled = make_bodies(build_requests([entry], settings, Options()), time.time(), "node7")
    frames[1].write_bytes(b"0123")

    [request] = map(from_wire, json.loads(spooled[0])["requests"])
    assert isinstance(request, PublishRequest)
    whole, cut = (transfer_from_record(one.upload_id, one.to_record()) for one in request.files)

    assert compute_checksum(whole, roots).checksum == digest_of(b"0123456789")
    with pytest.raises(FileShrunkError):
        compute_checksum(cut, roots)
