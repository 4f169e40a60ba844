"""Paths of other systems, as hooks are given them and as workers read them."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from tasks.config.path_map import absolute, mapped
from tasks.config.sealing import Codec
from tasks.config.settings import Settings
from tasks.intake.build import Options, build_requests
from tasks.intake.errors import BadInputError
from tasks.intake.manifest import Entry
from tasks.intake.request import PublishRequest, Request, UploadRequest
from tasks.records.record import Record
from tasks.records.scripts import Scripts
from tasks.transfer.errors import FileRefusedError
from tasks.transfer.files import open_checked
from tasks.transfer.targets import Target

COMPONENT = "5d2c9f6e-1b1e-4b4a-9d0c-3f1f8c6c7a10"
VERSION = "9f1d4c1e-7a3b-4a55-8a5e-0c9b6a1f2e3d"

MAP = (("P:\\", "/mnt/prod"), ("P:\\cache\\", "/mnt/cache"), ("\\\\nas\\vol", "/vol"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("P:\\sh010\\main.exr", "/mnt/prod/sh010/main.exr"),
        ("P:/sh010/main.exr", "/mnt/prod/sh010/main.exr"),
        ("p:\\SH010\\Main.EXR", "/mnt/prod/SH010/Main.EXR"),
        ("P:\\cache\\main.exr", "/mnt/cache/main.exr"),
        ("p:/Cache/main.exr", "/mnt/cache/main.exr"),
        ("P:\\cached\\main.exr", "/mnt/prod/cached/main.exr"),
        ("\\\\nas\\vol\\a\\b.exr", "/vol/a/b.exr"),
        ("\\\\NAS\\Vol\\a.exr", "/vol/a.exr"),
        ("//nas/vol/a.exr", "/vol/a.exr"),
        ("\\\\nas\\volume\\a.exr", "\\\\nas\\volume\\a.exr"),
        ("P:", "/mnt/prod/"),
        ("Q:\\a.exr", "Q:\\a.exr"),
        ("/mnt/prod/a.exr", "/mnt/prod/a.exr"),
        ("P:\\Größe\\İ.exr", "/mnt/prod/Größe/İ.exr"),
        ("", ""),
    ],
)
def test_a_windows_path_is_mapped_by_its_longest_prefix(path: str, expected: str) -> None:
    assert mapped(path, MAP) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/Volumes/prod/a.exr", "/mnt/prod/a.exr"),
        ("/Volumes/production/a.exr", "/Volumes/production/a.exr"),
        ("/volumes/prod/a.exr", "/volumes/prod/a.exr"),
        ("/Volumes/prod/a\\b.exr", "/mnt/prod/a\\b.exr"),
        ("/Volumes/prod", "/mnt/prod/"),
    ],
)
def test_a_posix_path_is_mapped_by_whole_folders_and_exact_case(path: str, expected: str) -> None:
    assert mapped(path, [("/Volumes/prod", "/mnt/prod")]) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/mnt/a/f.exr", "/mnt/a/b/f.exr"),
        ("/mnt/a/b/f.exr", "/mnt/a/b/f.exr"),
        ("/mnt/a/b", "/mnt/a/b"),
        ("/mnt/x/c/f.exr", "/mnt/y/c/f.exr"),
        ("P:\\f.exr", "/mnt/y/f.exr"),
        ("/net/nas/f.exr", "/f.exr"),
        ("/f.exr", "/f.exr"),
    ],
)
def test_a_path_is_mapped_once_by_hook_and_worker(path: str, expected: str) -> None:
    nested = (
        *(("/mnt/a", "/mnt/a/b"), ("/mnt/x", "/mnt/y"), ("/mnt/y/c", "/mnt/z")),
        *(("P:\\", "/mnt/y"), ("/net/nas", "/")),
    )
    once = mapped(path, nested)

    assert mapped(once, nested) == once == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("P:\\sh010\\a.exr", "P:/sh010/a.exr"),
        ("p:/sh010/a.exr", "p:/sh010/a.exr"),
        ("\\\\nas\\vol\\a.exr", "\\\\nas/vol/a.exr"),
        ("/mnt/../mnt/a.exr", "/mnt/a.exr"),
        ("c:a.exr", str(Path("c:a.exr").absolute())),
    ],
)
def test_an_unmapped_windows_path_is_left_to_the_worker(path: str, expected: str) -> None:
    assert absolute(path, ()) == expected
    assert mapped("P:/sh010/a.exr", MAP) == "/mnt/prod/sh010/a.exr"
    assert mapped("\\\\nas/vol/a.exr", MAP) == "/vol/a.exr"


def request_for(entry: Entry, root: Path, *path_map: tuple[str, str], stat: bool = True) -> Request:
    settings = Settings("", storage_roots=(str(root),), path_map=path_map)
    [request] = build_requests([entry], settings, Options(stat=stat))
    return request


def test_a_mapped_path_is_checked_on_this_host(root: Path) -> None:
    (root / "main.0101.exr").write_bytes(b"pixels")
    entry = Entry("P:\\main.0101.exr", version_id=VERSION)
    request = request_for(entry, root, ("P:\\", str(root)))
    assert isinstance(request, UploadRequest)

    assert request.path == str(root / "main.0101.exr")
    assert request.target.name == "main.0101"


def test_a_mapped_path_outside_the_roots_is_refused(root: Path) -> None:
    with pytest.raises(BadInputError, match="is outside"):
        request_for(Entry("P:\\..\\..\\etc\\passwd", COMPONENT), root, ("P:\\", str(root)))


def test_an_unmapped_windows_path_needs_no_stat(root: Path) -> None:
    entry = Entry("P:\\sh 010\\f.%04d.exr [1-2]", version_id=VERSION)
    request = request_for(entry, root, stat=False)
    assert isinstance(request, PublishRequest)
    assert [file.path for file in request.files] == ["P:/sh 010/f.0001.exr", "P:/sh 010/f.0002.exr"]
    assert request.publish.containers[0].target.name == "f"

    with pytest.raises(BadInputError, match=r"^P:/a\.exr .* FARMHAUL_PATH_MAP .* --no-stat "):
        request_for(Entry("P:\\a.exr", COMPONENT), root)


# On the worker


def record_of(*path_map: tuple[str, str]) -> Record:
    return Record(Scripts(redis.Redis(), Codec([])), path_map)


def test_a_worker_maps_a_record_and_the_upload_keeps_its_id(
    root: Path,
) -> None:
    record = record_of(("P:\\", str(root)), ("/mnt/a", str(root)))
    for path in ("P:/main.exr", "/mnt/a/main.exr", str(root / "main.exr")):
        request = UploadRequest(path, Target(COMPONENT))
        row = record.scripts.codec.encode(request.to_record())
        transfer = record.form.read(request.upload_id, row)

        assert transfer.path == str(root / "main.exr")
        assert transfer.upload_id == request._replace(host="other").upload_id


def test_a_path_mapped_by_a_worker_must_be_below_its_roots(root: Path) -> None:
    record = record_of(("P:\\", str(root)))
    request = UploadRequest("P:/../secret.exr", Target(COMPONENT))
    (root.parent / "secret.exr").write_bytes(b"secret")
    row = record.scripts.codec.encode(request.to_record())
    transfer = record.form.read(request.upload_id, row)

    with pytest.raises(FileRefusedError, match="is outside"):
        open_checked(transfer.path, [str(root)])
