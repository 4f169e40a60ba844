"""AYON: a metadata file in the form that ayon-core's create_metadata_path writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.intake.request import PublishRequest, UploadRequest
from tests.farm import Farm, wait_until
from tests.farm_hooks.conftest import Installed
from tests.farm_hooks.stand import HOOKS
from tests.helpers.ayon_plugins import fetch_plugins, integrate
from tests.helpers.skipping import skip_loudly
from tests.sandbox import seed
from tests.sandbox.official import official_client

VERSION = "9f1d2c3b-0000-4000-8000-000000000001"
FOLDER = "{root[work]}/sh 010/v003"
FRAMES = ["sh010.1001.exr", "sh010.1002.exr", "sh010.1004.exr"]
SEQUENCE = ("/mnt/prod/sh 010/v003/sh010.%04d.exr [1001-1002, 1004]", "exr")
MOVIE = ("/mnt/prod/sh 010/v003/sh010.mov", "mov")


def representation(name: str, files: Any, *tags: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "files": files, "stagingDir": FOLDER, "tags": [*tags], **more}


EXR = representation("exr", FRAMES, "review")
MOV = representation("mov", "sh010.mov")


def metadata_of(folder: Path, *representations: Any, **more: Any) -> Path:
    instance = {"productName": "renderMain", "representations": [*representations], **more}
    path = folder / "renderMain_metadata.json"
    path.write_text(json.dumps({"instances": [instance]}))
    return path


def run(installed: Installed, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    source = HOOKS / "ayon" / "farmhaul_ayon.py"
    script = installed.folder / "farmhaul_ayon.py"
    script.write_text(source.read_text().replace("/opt/farmhaul-hook", str(installed.folder)))
    version = () if "--context" in arguments else ("--version-id", VERSION)
    command = [sys.executable, "-B", script, *arguments, *version]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60)


def publish(installed: Installed, metadata: Path) -> subprocess.CompletedProcess[str]:
    return run(installed, metadata, "--root", "work=/mnt/prod")


def test_what_the_metadata_names_is_queued(installed: Installed, tmp_path: Path) -> None:
    metadata = metadata_of(tmp_path, EXR, MOV)
    planned = run(installed, metadata, "--root", "work=/mnt/prod", "--dry-run")
    assert (planned.returncode, installed.queued) == (0, [])
    assert [json.loads(line)["name"] for line in planned.stdout.splitlines()] == ["exr", "mov"]
    done = publish(installed, metadata)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("2 queued\n")
    assert installed.queued == [SEQUENCE, MOVIE]


def test_representations_have_the_tags_that_ayon_gave_them(
    installed: Installed, tmp_path: Path
) -> None:
    size = {"resolutionWidth": 1920, "resolutionHeight": 1080}
    metadata = metadata_of(
        tmp_path,
        EXR,
        representation("thumbnail", "t.jpg", "thumbnail", "delete"),
        representation("h264", "r.mp4", "ftrackreview", fps=24.0, **size),
        representation("png", "still.png", "delete"),
        representation("abc", "later.abc", "publish_on_farm"),
        frameStart=1001,
        frameEnd=1012,
    )
    done = publish(installed, metadata)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(" is left out")[0] for line in done.stdout.splitlines()[:2]] == [
        "farmhaul: png",
        "farmhaul: abc",
    ]
    assert [name for _, name in installed.queued] == ["exr", "thumbnail", "ftrackreview-mp4"]
    thumbnail, review = (
        request.target for request in installed.requests if isinstance(request, UploadRequest)
    )
    assert (thumbnail.thumbnail, review.thumbnail) == (True, False)
    assert json.loads(dict(review.metadata)["ftr_meta"]) == {
        "frameIn": 0, "frameOut": 12, "frameRate": 24, "width": 1920, "height": 1080
    }  # fmt: skip


#: What ynput/ayon-ftrack at 5501457 makes of EXR, an mp4 with the tag ftrackreview and a jpg with
#: the tag thumbnail, both with the tag delete, each on its own (integrate_ftrack_instances.py,
#: 242-411): the component's name, its location, and whether it is the version's thumbnail.
RECORDED = {
    ("thumbnail", "ftrack.server", True),
    ("ftrackreview-mp4", "ftrack.server", False),
    ("exr", "ftrack.unmanaged", False),
}


def test_the_components_are_those_of_ayons_own_plugins(
    installed: Installed, tmp_path: Path
) -> None:
    size = {"resolutionWidth": 1920, "resolutionHeight": 1080}
    metadata = metadata_of(
        tmp_path,
        EXR,
        representation("thumbnail", "t.jpg", "thumbnail", "delete"),
        representation("h264", "r.mp4", "ftrackreview", "delete", fps=24.0, **size),
        frameStart=1001,
        frameEnd=1012,
        version=7,
    )
    place = ("--context", "demo/sh010", "--asset-type", "render", "--comment", "hm")
    more = (*place, "--also-in", "ftrack.unmanaged", "--root", "work=/mnt/prod")

    done = run(installed, metadata, *more)

    assert (done.returncode, done.stderr) == (0, "")
    targets = [
        request.publish.containers[0].target
        if isinstance(request, PublishRequest)
        else request.target
        for request in installed.requests
    ]
    # farmhaul also brings what AYON only registers, so that it can be reached from elsewhere.
    made = {(one.name, "ftrack.server", one.thumbnail) for one in targets}
    made |= {(one.name, one.also_in, one.thumbnail) for one in targets if one.also_in}
    assert made >= RECORDED
    assert {name for name, _, _ in made} == {name for name, _, _ in RECORDED}
    [version] = {one.new_version for one in targets}
    assert version
    assert (version.asset, version.key, version.comment) == ("renderMain", "v7", "hm")


@pytest.mark.chaos
def test_a_publish_is_what_ayons_own_plugins_make(
    installed: Installed, farm: Farm, out: Path, tmp_path: Path
) -> None:
    if why := fetch_plugins():
        skip_loudly("AYON'S OWN PLUG-INS WERE NOT RUN", why)
    for name in (*FRAMES, "t.jpg", "r.mp4"):
        (out / name).write_bytes(name.encode() * 50)
    media = [
        representation("thumbnail", "t.jpg", "thumbnail", "delete", ext="jpg"),
        representation("h264", "r.mp4", "ftrackreview", "delete", ext="mp4", fps=24.0)
        | {"resolutionWidth": 1920, "resolutionHeight": 1080},
    ]
    rows = [{**one, "stagingDir": str(out)} for one in ({**EXR, "ext": "exr"}, *media)]
    range_ = {"frameStart": 1001, "frameEnd": 1004}
    with official_client(farm.sandbox) as session:
        task = session.get("Task", seed.TASK_ID)
        paths = [out / FRAMES[0], out / "t.jpg", out / "r.mp4"]
        published = [{**row, "path": str(path)} for row, path in zip(rows, paths, strict=True)]
        instance = {"representations": published, "version": 1, "productType": "render"}
        instance |= {"productName": "renderMain", "comment": "hm", "ftrackTask": task, **range_}
        integrate(session, instance, {"hostName": "maya"})
        theirs, their_version = _published(session)
    farm.sandbox.reset()
    installed.configure(
        FARMHAUL_REDIS_URL=farm.env["FARMHAUL_REDIS_URL"],
        FARMHAUL_STORAGE_ROOTS=str(farm.sandbox.storage),
    )
    place = ("--context", "demo/sh010", "--asset-type", "render", "--comment", "hm")
    more = ("--task", seed.TASK_ID, "--also-in", "ftrack.unmanaged")

    done = run(installed, metadata_of(tmp_path, *rows, version=1, **range_), *place, *more)

    assert done.stderr == ""
    entities = farm.sandbox.ftrack.entities
    # The sequence and its frames are in two locations.
    wait_until(lambda: len(entities("ComponentLocation")) == 2 * (1 + len(FRAMES)) + 2, 60)
    wait_until(lambda: any(one.get("thumbnail_id") for one in entities("AssetVersion")), 60)
    with official_client(farm.sandbox) as session:
        ours, our_version = _published(session)
    assert our_version == their_version
    # AYON only registers the first frame's path; here the whole sequence is in ftrack.server, too.
    assert theirs.pop("exr") == (".exr", {"ftrack.unmanaged"}, {})
    assert ours.pop("exr") == (".exr", {"ftrack.unmanaged", "ftrack.server"}, {})
    # ftrack's documentation asks for the size too.
    assert ours["ftrackreview-mp4"][2].pop("width") == 1920
    assert ours["ftrackreview-mp4"][2].pop("height") == 1080
    assert ours == theirs


def _published(session: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the components of a version, and the version, as far as AYON's plug-ins set them."""
    version = session.query('AssetVersion where asset.name is "renderMain"').one()
    components = {one["id"]: one for one in (*version["components"], version["thumbnail"])}
    found = {
        one["name"]: (
            one["file_type"],
            {place["location"]["name"] for place in one["component_locations"]},
            json.loads(one["metadata"].get("ftr_meta", "{}")),
        )
        for one in components.values()
    }
    told = {name: version[name] for name in ("version", "comment", "task_id")}
    asset = version["asset"]
    of_asset = {"type": asset["type"]["short"], "parent": asset["parent"]["id"]}
    return found, {**told, **of_asset, "thumbnail": version["thumbnail"]["name"]}


def test_an_instance_without_a_version_is_not_queued(installed: Installed, tmp_path: Path) -> None:
    place = ("--context", "demo/sh010", "--asset-type", "render", "--root", "work=/mnt/prod")
    done = run(installed, metadata_of(tmp_path, MOV), *place)
    assert (done.returncode, installed.queued) == (2, [])
    assert "mov: its instance has no version, which --context needs" in done.stderr


def test_products_of_one_version_are_told_apart(installed: Installed, tmp_path: Path) -> None:
    path = metadata_of(tmp_path, EXR)
    values = json.loads(path.read_text())
    depth = representation("exr", "depth.exr")
    values["instances"].append({"productName": "renderDepth", "representations": [depth, MOV]})
    path.write_text(json.dumps(values))
    assert publish(installed, path).returncode == 0
    assert [name for _, name in installed.queued] == ["renderMain_exr", "renderDepth_exr", "mov"]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (["a.1001.exr", "b.1002.exr"], "contains more than one sequence"),
        ([*FRAMES, "notes.txt"], "4 files are not one sequence of frames"),
        ([], "exr: "),
        (None, "exr: "),
    ],
)
def test_a_representation_that_cannot_be_read_does_not_hold_up_others(
    installed: Installed, tmp_path: Path, files: Any, why: str
) -> None:
    done = publish(installed, metadata_of(tmp_path, {**EXR, "files": files}, MOV))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "1 queued; not queued: exr: " in done.stderr
    assert why in done.stderr
    assert installed.queued == [MOVIE]


def test_something_else_in_the_list_is_named(installed: Installed, tmp_path: Path) -> None:
    done = publish(installed, metadata_of(tmp_path, "exr", MOV))
    assert (done.returncode, "'exr' is no representation" in done.stderr) == (2, True)
    assert installed.queued == [MOVIE]


def test_two_files_of_one_name_are_not_mixed(installed: Installed, tmp_path: Path) -> None:
    other = {**MOV, "files": "other.mov"}
    done = publish(installed, metadata_of(tmp_path, MOV, other))
    assert (done.returncode, "would get two files" in done.stderr) == (2, True)
    assert installed.queued == [(MOVIE[0], "renderMain_mov")]
    assert installed.left[0].suffix == ".bad"


def test_what_a_metadata_file_says_is_one_line_of_the_log(
    installed: Installed, tmp_path: Path
) -> None:
    odd = "exr\x1b[2J\nfarmhaul: forged\u202e"
    left_out = metadata_of(tmp_path, representation(odd, FRAMES, "delete"))
    refused = metadata_of(installed.folder, representation(odd, 7))
    for metadata in (left_out, refused):
        for option in ((), ("--dry-run",)):
            done = run(installed, metadata, "--root", "work=/mnt/prod", *option)
            for text in (done.stdout, done.stderr):
                assert all(one.isprintable() for one in text.splitlines())
                assert "\nfarmhaul: forged" not in text
            assert "exr\\x1b[2J" in done.stdout + done.stderr


def test_metadata_with_an_unknown_root_is_refused(installed: Installed, tmp_path: Path) -> None:
    for root in ("publish=/mnt", "work"):
        done = run(installed, metadata_of(tmp_path, EXR), "--root", root)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert (
        "write --root work=FOLDER, which its path needs"
        in run(installed, metadata_of(tmp_path, EXR), "--root", "publish=/mnt").stderr
    )
    assert installed.queued == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"instances": 1}', b'{"instances": []}', b"\xff\xfe{", b"\x80", None],
)
def test_a_file_that_is_no_metadata_is_one_line(
    installed: Installed, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "metadata.json"
    if content is not None:
        path.write_bytes(content)
    done = publish(installed, path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"farmhaul: {path}: ")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_metadata_may_be_written_by_a_program_of_windows(
    installed: Installed, tmp_path: Path, encoding: str
) -> None:
    path = metadata_of(tmp_path, MOV)
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    assert publish(installed, path).returncode == 0
    assert installed.queued == [MOVIE]
