"""Paths of other systems, as hooks are given them and as workers read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import redis

from tasks.config.path_map import absolute, mapped
from tasks.config.sealing import Codec
from tasks.config.settings import Settings
from tasks.intake.build import BadInputError, Entry, Intake
from tasks.intake.request import PublishRequest, UploadRequest
from tasks.records.record import Record
from tasks.transfer.errors import FileRefusedError
from tasks.transfer.files import open_checked
from tasks.transfer.models import Target

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
def test_a_path_of_windows_is_mapped_by_its_longest_prefix_in_any_spelling(
    path: str, expected: str
) -> None:
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
def test_a_path_of_posix_is_mapped_by_whole_folders_in_its_own_spelling(
    path: str, expected: str
) -> None:
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
def test_a_path_that_is_mapped_by_hook_and_worker_is_mapped_once(path: str, expected: str) -> None:
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
def test_a_path_of_windows_that_the_hook_can_not_map_stays_one_for_the_worker(
    path: str, expected: str
) -> None:
    assert absolute(path, ()) == expected
    assert mapped("P:/sh010/a.exr", MAP) == "/mnt/prod/sh010/a.exr"
    assert mapped("\\\\nas/vol/a.exr", MAP) == "/vol/a.exr"


def intake_of(root: Path, *path_map: tuple[str, str], stat: bool = True) -> Intake:
    return Intake(Settings("", storage_roots=(str(root),), path_map=path_map), stat=stat)


def test_a_mapped_path_is_looked_at_where_it_leads(root: Path) -> None:
    (root / "main.0101.exr").write_bytes(b"pixels")
    [request] = intake_of(root, ("P:\\", str(root))).requests(
        [Entry("P:\\main.0101.exr", version_id=VERSION)]
    )
    assert isinstance(request, UploadRequest)

    assert request.path == str(root / "main.0101.exr")
    assert request.target.name == "main.0101"


def test_a_mapped_path_does_not_lead_out_of_the_roots(root: Path) -> None:
    with pytest.raises(BadInputError, match="is outside"):
        intake_of(root, ("P:\\", str(root))).requests([Entry("P:\\..\\..\\etc\\passwd", COMPONENT)])


def test_a_path_of_windows_is_left_to_the_workers_only_where_nobody_is_to_look(root: Path) -> None:
    entry = Entry("P:\\sh 010\\f.%04d.exr [1-2]", version_id=VERSION)
    [request] = intake_of(root, stat=False).requests([entry])
    assert isinstance(request, PublishRequest)
    assert [one.path for one in request.files] == ["P:/sh 010/f.0001.exr", "P:/sh 010/f.0002.exr"]
    assert request.publish.containers[0].target.name == "f"

    with pytest.raises(BadInputError, match="FARMHAUL_PATH_MAP has nothing for here"):
        intake_of(root).requests([Entry("P:\\a.exr", COMPONENT)])


# On the worker


def record_of(*path_map: tuple[str, str]) -> Record:
    record = Record(redis.Redis(), Codec([]))
    record.path_map = path_map
    return record


def test_a_worker_reads_a_record_with_its_own_map_and_the_upload_stays_the_same(
    root: Path,
) -> None:
    record = record_of(("P:\\", str(root)), ("/mnt/a", str(root)))
    for path in ("P:/main.exr", "/mnt/a/main.exr", str(root / "main.exr")):
        request = UploadRequest(path, Target(COMPONENT))
        row = record.codec.encode(request.to_record())
        transfer = record.transfer(request.upload_id, row, "", "")

        assert transfer.path == str(root / "main.exr")
        assert transfer.upload_id == replace(request, host="other").upload_id


def test_what_a_worker_maps_is_held_to_its_roots(root: Path) -> None:
    record = record_of(("P:\\", str(root)))
    request = UploadRequest("P:/../secret.exr", Target(COMPONENT))
    (root.parent / "secret.exr").write_bytes(b"secret")
    row = record.codec.encode(request.to_record())
    transfer = record.transfer(request.upload_id, row, "", "")

    with pytest.raises(FileRefusedError, match="is outside"):
        open_checked(transfer.path, [str(root)])
