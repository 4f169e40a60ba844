"""farmhaul-hook.pyz enqueue on Windows: which paths it takes, and how they reach a worker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.intake.request import PublishRequest, UploadRequest
from tests.sandbox import RedisServer
from tests.windows.conftest import VERSION, Hook, take

pytestmark = [pytest.mark.windows, pytest.mark.timeout(900)]

NAME = "größe 映像 v003.exr"


@pytest.mark.parametrize(
    ("path", "recorded"),
    [
        (f"P:\\sh 010\\{NAME}", f"P:/sh 010/{NAME}"),
        (f"P:/sh 010/{NAME}", f"P:/sh 010/{NAME}"),
        (f"P:\\sh 010\\..\\sh 010\\.\\{NAME}", f"P:/sh 010/{NAME}"),
        (f"\\\\?\\P:\\sh 010\\{NAME}", f"P:/sh 010/{NAME}"),
        (f"\\\\server\\prod\\sh 010\\{NAME}", f"\\\\server/prod/sh 010/{NAME}"),
        (f"//server/prod/sh 010/{NAME}", f"\\\\server/prod/sh 010/{NAME}"),
        (f"\\\\?\\UNC\\server\\prod\\sh 010\\{NAME}", f"\\\\server/prod/sh 010/{NAME}"),
    ],
)
def test_a_file_on_a_drive_or_a_share_has_one_form_of_its_path(
    hook: Hook, redis_server: RedisServer, path: str, recorded: str
) -> None:
    status = hook.write(f"sh 010/{NAME}").stat()

    [answer] = hook.enqueue(path)

    assert (answer["path"], answer["state"], answer["size"]) == (recorded, "queued", 6)
    [request] = take(redis_server)
    assert isinstance(request, UploadRequest)
    assert (request.path, request.target.name) == (recorded, NAME.removesuffix(".exr"))
    # Times of Windows have steps of 100 ns.
    assert (request.size_bytes, request.mtime_ns) == (6, status.st_mtime_ns // 100 * 100)
    assert request.upload_id == answer["upload_id"]


@pytest.mark.parametrize(
    "path",
    [
        "P:\\sh 010\\ü 映.%04d.exr",
        "P:\\sh 010\\ü 映.####.exr",
        "P:\\sh 010\\ü 映.%04d.exr [1001-1003]",
        "P:\\sh 010",
        "P:\\sh 010\\",
        "\\\\?\\P:\\sh 010",
    ],
)
def test_a_sequence_is_queued_by_its_pattern_or_its_folder(
    hook: Hook, redis_server: RedisServer, path: str
) -> None:
    for number in (1001, 1002, 1003):
        hook.write(f"sh 010/ü 映.{number}.exr")
    hook.write("sh 010/Thumbs.db")

    [answer] = hook.enqueue(path)

    assert answer["path"] == "P:/sh 010/ü 映.%04d.exr [1001-1003]"
    [request] = take(redis_server)
    assert isinstance(request, PublishRequest)
    assert [file.path for file in request.files] == [
        f"P:/sh 010/ü 映.{number}.exr" for number in (1001, 1002, 1003)
    ]
    assert {file.size_bytes for file in request.files} == {6}


def test_a_path_longer_than_260_characters_is_queued(hook: Hook, redis_server: RedisServer) -> None:
    """Wine has no such limit. What is shown is that the long form leads to the file."""
    folder = "/".join(["d" * 60] * 5)
    hook.write(f"{folder}/main.exr")

    [answer] = hook.enqueue(f"P:/{folder}/main.exr")

    assert (len(answer["path"]), answer["size"]) == (3 + len(folder) + 9, 6)
    assert len(take(redis_server)) == 1


def test_with_no_stat_a_worker_looks_for_the_file(hook: Hook, redis_server: RedisServer) -> None:
    paths = ("Q:\\a.exr", "\\\\other\\share\\b.exr", "\\\\?\\Q:\\c.%04d.exr [1-2]")

    answers = hook.enqueue("--no-stat", *paths)

    assert [answer["path"] for answer in answers] == [
        "Q:/a.exr",
        "\\\\other/share/b.exr",
        "Q:/c.%04d.exr [1-2]",
    ]
    assert len(take(redis_server)) == 3


def test_a_path_of_linux_stays_one(hook: Hook, redis_server: RedisServer) -> None:
    [answer] = hook.enqueue("--no-stat", "/mnt/prod/sh010/main.exr")
    assert answer["path"] == "/mnt/prod/sh010/main.exr"
    assert len(take(redis_server)) == 1

    line = hook.refuse("/mnt/prod/sh010/main.exr")
    assert line.startswith("farmhaul: /mnt/prod/sh010/main.exr")
    assert "FARMHAUL_PATH_MAP" in line


def test_a_map_leads_from_linux_and_drives_to_what_is_here(
    hook: Hook, redis_server: RedisServer
) -> None:
    hook.write("sh010/main.exr")
    hook.env["FARMHAUL_PATH_MAP"] = "/mnt/prod=P:\\;Q:\\=\\\\server\\prod"

    [first] = hook.enqueue("/mnt/prod/sh010/main.exr")
    [second] = hook.enqueue("q:\\SH010\\..\\sh010\\main.exr")

    assert first["path"] == "P:/sh010/main.exr"
    assert second["path"] == "\\\\server/prod/sh010/main.exr"
    assert len(take(redis_server)) == 2


def test_a_request_has_the_same_ids_from_windows_and_from_linux(
    hook: Hook, redis_server: RedisServer, tmp_path: Path
) -> None:
    paths = (
        "P:\\sh 010\\größe 映.exr",
        "\\\\server\\prod\\main.mov",
        "\\\\?\\UNC\\server\\prod\\f.####.exr 1-100x3",
        "Q:/v003/f.%04d.exr [1001-1003]",
        "/mnt/prod/main.mov",
        "/mnt/prod/f.@.exr [8-12]",
    )
    lines = [
        json.dumps({"path": path, "version_id": VERSION, "name": f"name {number}"})
        for number, path in enumerate(paths)
    ]
    manifest = "\n".join(lines).encode()
    words = ("--manifest", "-", "--no-stat")
    here = {**hook.env, "FARMHAUL_STORAGE_ROOTS": "/mnt", "FARMHAUL_SPOOL": str(tmp_path / "spool")}

    answers = hook.enqueue(*words, stdin=manifest)
    done = subprocess.run(
        [sys.executable, hook.pyz, "enqueue", *words],
        input=manifest, env=here, capture_output=True, check=True,
    )  # fmt: skip

    assert answers == [json.loads(line) for line in done.stdout.splitlines()]
    requests = take(redis_server)
    assert requests[: len(paths)] == requests[len(paths) :]


def test_what_cannot_be_queued_is_refused_as_on_linux(hook: Hook) -> None:
    hook.write("empty.exr", b"")
    hook.write("sh010/f.1001.exr")
    hook.write("sh010/f.1003.exr")

    for path, says in (
        ("P:\\nothing.exr", "P:/nothing.exr: no such file exists here; check the name"),
        ("P:\\empty.exr", "P:/empty.exr is empty, perhaps after a failed render"),
        ("P:\\sh010", "P:/sh010/f.%04d.exr: 1 of 3 frames are missing: 1002"),
        ("P:\\sh010\\g.%04d.exr", "P:/sh010/g.%04d.exr: no such frame exists here"),
        ("C:\\windows\\win.ini", "C:/windows/win.ini is outside the storage roots"),
    ):
        assert f"farmhaul: {says}" in hook.refuse(path)
    done = hook.run("enqueue", "P:\\sh010\\f.1001.exr")
    assert done.code == 2
    assert "--version-id" in done.said


def test_the_command_says_its_version_and_its_help(hook: Hook) -> None:
    for arguments in (("--version",), ("--help",), ("enqueue", "--help")):
        done = hook.run(*arguments)
        assert (done.code, done.said) == (0, "")
        assert "farmhaul" in done.answers[0]["text"]
