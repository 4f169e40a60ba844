"""AYON: a metadata file in the form that ayon-core's create_metadata_path writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.intake.request import PublishRequest
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
SEQUENCE = ("exr", [f"/mnt/prod/sh 010/v003/{name}" for name in FRAMES])
MOVIE = ("mov", ["/mnt/prod/sh 010/v003/sh010.mov"])


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


def queued(installed: Installed) -> list[tuple[str, list[str]]]:
    """Return the components of all publishes in the queue, sequences first, with their files."""
    found: list[tuple[str, list[str]]] = []
    for request in installed.requests:
        assert isinstance(request, PublishRequest)
        assert request.files[0].target.version_id
        owners = [(one.target.component_id, one.target.name) for one in request.publish.containers]
        names = dict(owners) | {
            one.target.component_id: one.target.name
            for one in request.files
            if one.target.container_id is None
        }
        files: dict[str, list[str]] = {name or "": [] for name in names.values()}
        for one in request.files:
            files[names[one.target.container_id or one.component_id] or ""].append(one.path)
        found += files.items()
    return found


def test_what_the_metadata_names_is_queued(installed: Installed, tmp_path: Path) -> None:
    metadata = metadata_of(tmp_path, EXR, MOV)
    planned = run(installed, metadata, "--root", "work=/mnt/prod", "--dry-run")
    assert (planned.returncode, queued(installed)) == (0, [])
    assert [json.loads(line)["name"] for line in planned.stdout.splitlines()] == ["exr", "mov"]
    done = publish(installed, metadata)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("1 queued\n")
    assert queued(installed) == [SEQUENCE, MOVIE]


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
    expected = ["exr", "thumbnail", "ftrackreview-mp4_src", "ftrackreview-mp4"]
    assert [name for name, _ in queued(installed)] == expected
    [request] = installed.requests
    assert isinstance(request, PublishRequest)
    thumbnail, source, review = (one.target for one in request.files[:3])
    assert (thumbnail.thumbnail, thumbnail.is_hidden, review.thumbnail) == (True, False, False)
    assert source.only_in == "ftrack.unmanaged"
    assert (review.also_in, review.only_in) == ("", "")
    assert json.loads(dict(review.metadata)["ftr_meta"]) == {
        "frameIn": 0, "frameOut": 12, "frameRate": 24
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
    more = (*place, "--root", "work=/mnt/prod")

    done = run(installed, metadata, *more)

    assert (done.returncode, done.stderr) == (0, "")
    [request] = installed.requests
    assert isinstance(request, PublishRequest)
    targets = [one.target for one in request.publish.containers]
    targets += [one.target for one in request.files if one.target.container_id is None]
    # farmhaul also brings what AYON only registers, so that it can be reached from elsewhere.
    made = {(one.name, "ftrack.server", one.thumbnail) for one in targets}
    made |= {(one.name, one.also_in, one.thumbnail) for one in targets if one.also_in}
    assert made >= RECORDED
    assert {name for name, _, _ in made} == {name for name, _, _ in RECORDED}
    [version] = {one.new_version for one in targets}
    assert version
    assert (version.asset, version.number, version.comment) == ("renderMain", "7", "hm")


#: Pictures of these sizes: AYON asks ffprobe for them, and the hook reads them itself.
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8) + (640).to_bytes(4, "big") + (360).to_bytes(4, "big")
JPEG = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08" + b"\x01\x68\x02\x80" + bytes(20)
MP4 = representation("h264", "r.mp4", "ftrackreview", ext="mp4", fps=24.0)
THUMBNAIL = representation("thumbnail", "t.jpg", "thumbnail", "delete", ext="jpg")
ABC = representation("abc", "cache.abc", ext="abc")
PLATE = representation("png", "still.png", ext="png")
#: Publishes of AYON: the representations, and the products that AYON makes assets of.
PUBLISHES = {
    "frames": ([{**EXR, "ext": "exr"}, THUMBNAIL, {**MP4, "tags": ["ftrackreview", "delete"]}], 1),
    "sources": ([MP4, {**THUMBNAIL, "tags": ["thumbnail"]}, ABC, PLATE], 1),
    "thumbnail alone": ([{**THUMBNAIL, "tags": ["thumbnail"]}, ABC], 1),
    "picture": ([{**PLATE, "tags": ["ftrackreview"]}, THUMBNAIL], 1),
    "two reviews": ([MP4, {**MP4, "name": "prores", "files": "p.mov", "ext": "mov"}, THUMBNAIL], 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", PUBLISHES)
def test_a_publish_is_what_ayons_own_plugins_make(
    installed: Installed, farm: Farm, out: Path, tmp_path: Path, what: str
) -> None:
    if why := fetch_plugins():
        skip_loudly("AYON'S OWN PLUG-INS WERE NOT RUN", why)
    for name in (*FRAMES, "t.jpg", "r.mp4", "p.mov", "cache.abc", "still.png"):
        head = {"jpg": JPEG, "png": PNG}.get(name.rpartition(".")[2], b"")
        (out / name).write_bytes(head + name.encode() * 50)
    representations, assets = PUBLISHES[what]
    rows = [{**one, "stagingDir": str(out)} for one in representations]
    more = {"frameStart": 1001, "frameEnd": 1004, "version": 7, "productType": "render"}
    more |= {"comment": "hm", "resolutionWidth": 1920, "resolutionHeight": 1080, "fps": 24.0}
    first = [one["files"] if isinstance(one["files"], str) else one["files"][0] for one in rows]
    with official_client(farm.sandbox) as session:
        task = session.get("Task", seed.TASK_ID)
        published = [
            {**row, "path": str(out / name)} for row, name in zip(rows, first, strict=True)
        ]
        instance = {**more, "representations": published, "productName": "renderMain"}
        integrate(session, {**instance, "ftrackTask": task}, {"hostName": "maya"})
        theirs = _published(session)
    assert len(theirs) == assets
    farm.sandbox.reset()
    installed.configure(
        FARMHAUL_REDIS_URL=farm.env["FARMHAUL_REDIS_URL"],
        FARMHAUL_STORAGE_ROOTS=str(farm.sandbox.storage),
    )
    place = ("--context", "demo/sh010", "--task", "lighting", "--only-in", "ftrack.unmanaged")

    done = run(installed, metadata_of(tmp_path, *rows, **more), *place)

    assert (done.returncode, done.stderr) == (0, "")

    def ended() -> bool:
        found = farm.sandbox.ftrack.entities("AssetVersion")
        return sum("thumbnail_id" in one for one in found if one["version"] == 7) == assets

    wait_until(ended, 60)
    with official_client(farm.sandbox) as session:
        ours = _published(session)
    # A hook that fires twice makes nothing twice.
    assert run(installed, metadata_of(tmp_path, *rows, **more), *place).returncode == 0
    farm.wait_quiet()
    with official_client(farm.sandbox) as session:
        assert _published(session) == ours
    if what == "frames":
        # AYON registers the path of the first frame; farmhaul that of each, and their sequence.
        exr = theirs["renderMain"]["components"]["exr"]
        frames = ours["renderMain"]["components"].pop("exr")
        assert frames.pop("members") == {
            name.split(".")[1]: {
                **exr,
                "size": (out / name).stat().st_size,
                "locations": {"ftrack.unmanaged": str(out / name)},
                "metadata": {},
            }
            for name in FRAMES
        }
        assert frames["locations"] == {"ftrack.unmanaged": f"{out}/sh010.%04d.exr"}
        ours["renderMain"]["components"]["exr"] = {
            **frames,
            **{key: exr[key] for key in ("kind", "size", "locations")},
        }
    assert ours == theirs
    # All components of a version became visible with the call that made it.
    posts = [call["operations"] for call in farm.sandbox.ftrack.calls("create")]
    kinds = [{one.get("entity_type") for one in post} for post in posts]
    made = [post for post, of in zip(posts, kinds, strict=True) if "FileComponent" in of]
    assert len(made) == assets
    assert all(any(one.get("entity_type") == "AssetVersion" for one in post) for post in made)


def _published(session: Any) -> dict[str, Any]:
    """Return all that AYON's plug-ins set: versions by asset, each with its components."""
    found = {}
    for version in session.query('AssetVersion where asset.name like "renderMain%"').all():
        asset = version["asset"]
        told = {name: version[name] for name in ("version", "comment", "task_id", "status_id")}
        told |= {"type": asset["type"]["short"], "parent": asset["parent"]["id"]}
        told["components"] = {one["name"]: _component(one) for one in version["components"]}
        assert len(told["components"]) == len(version["components"])
        assert version["thumbnail"]["version_id"] == version["id"]
        found[asset["name"]] = {**told, "thumbnail": version["thumbnail"]["name"]}
    return found


def _component(one: Any) -> dict[str, Any]:
    locations = {
        place["location"]["name"]: place["resource_identifier"]
        for place in one["component_locations"]
    }
    if locations.get("ftrack.server") == one["id"]:
        locations["ftrack.server"] = "its id"
    told = {name: one[name] for name in ("file_type", "size")}
    if one.entity_type == "SequenceComponent":
        told["members"] = {frame["name"]: _component(frame) for frame in one["members"]}
    metadata = {
        key: json.loads(value) if key == "ftr_meta" else value
        for key, value in one["metadata"].items()
        # By this, fetch gives a file its own name back. AYON fetches none.
        if key != "farmhaul_pattern"
    }
    return {**told, "kind": one.entity_type, "locations": locations, "metadata": metadata}


def test_an_instance_without_a_version_is_not_queued(installed: Installed, tmp_path: Path) -> None:
    place = ("--context", "demo/sh010", "--root", "work=/mnt/prod")
    done = run(installed, metadata_of(tmp_path, MOV, version=None), *place)
    assert (done.returncode, installed.requests) == (2, [])
    assert "mov: its instance has no version, which --context needs" in done.stderr


def test_ayon_leaves_out_the_first_version_and_its_type(
    installed: Installed, tmp_path: Path
) -> None:
    place = ("--context", "demo/sh010", "--root", "work=/mnt/prod")
    for kind, expected in (("plate", "img"), ("Render", "render"), ("odd", "upload")):
        done = run(installed, metadata_of(tmp_path, MOV, productType=kind), *place, "--dry-run")
        line = json.loads(done.stdout)
        assert (line["version_number"], line["asset_type"]) == ("1", expected)


def test_products_of_one_version_are_told_apart(installed: Installed, tmp_path: Path) -> None:
    path = metadata_of(tmp_path, EXR)
    values = json.loads(path.read_text())
    depth = representation("exr", "depth.exr")
    values["instances"].append({"productName": "renderDepth", "representations": [depth, MOV]})
    path.write_text(json.dumps(values))
    assert publish(installed, path).returncode == 0
    found = ["renderMain_exr", "renderDepth_exr", "mov"]
    assert [name for name, _ in queued(installed)] == found
    assert len(installed.requests) == 2  # each product is a publish


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (["a.1001.exr", "b.1002.exr"], "contains more than one sequence"),
        ([*FRAMES, "notes.txt"], "4 files are not one sequence of frames"),
        ([], "exr: "),
        (None, "exr: "),
        ({"a.exr": 1}, "exr: its files are no names: {'a.exr': 1}"),
        ([1001], "exr: its files are no names: [1001]"),
    ],
)
def test_a_representation_that_cannot_be_read_does_not_hold_up_others(
    installed: Installed, tmp_path: Path, files: Any, why: str
) -> None:
    done = publish(installed, metadata_of(tmp_path, {**EXR, "files": files}, MOV))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "1 queued; not queued: exr: " in done.stderr
    assert why in done.stderr
    assert queued(installed) == [MOVIE]


def test_of_several_pictures_the_first_is_shown(installed: Installed, tmp_path: Path) -> None:
    names = ["a.1001.jpg", "a.1002.jpg"]
    for tag, name in (("thumbnail", "thumbnail"), ("ftrackreview", "ftrackreview-image")):
        done = publish(installed, metadata_of(tmp_path, representation(name, names, tag), EXR))
        assert (done.returncode, done.stderr) == (0, "")
    assert queued(installed)[0] == SEQUENCE
    first = ["/mnt/prod/sh 010/v003/a.1001.jpg"]
    assert ("ftrackreview-image", first) in queued(installed)
    assert ("ftrackreview-image_src", first) in queued(installed)


@pytest.mark.parametrize(
    "odd", [{"frameStartFtrack": 9, "frameEndFtrack": 1}, {"fps": "nan"}, {"fps": -24}]
)
def test_a_movie_without_frames_is_refused(
    installed: Installed, tmp_path: Path, odd: dict[str, Any]
) -> None:
    movie = representation("h264", "r.mp4", "ftrackreview", frameStart=1, frameEnd=9, fps=24)
    done = publish(installed, metadata_of(tmp_path, {**movie, **odd}, EXR))
    assert (done.returncode, "this movie cannot have" in done.stderr) == (2, True)
    assert SEQUENCE in queued(installed)
    assert "ftrackreview-mp4" not in dict(queued(installed))


def test_a_picture_that_never_ends_does_not_hang_the_publish(
    installed: Installed, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "still.png")
    still = {**representation("still", "still.png", "thumbnail"), "stagingDir": str(tmp_path)}
    installed.configure(FARMHAUL_STORAGE_ROOTS=f"/mnt:{tmp_path}")
    done = publish(installed, metadata_of(tmp_path, still, MOV))
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "still.png") in str(installed.queued)


@pytest.mark.parametrize("odd", ["exr", {**EXR, "name": 5}, {**EXR, "name": ["exr"]}])
def test_something_else_in_the_list_is_named(
    odd: Any, installed: Installed, tmp_path: Path
) -> None:
    done = publish(installed, metadata_of(tmp_path, odd, MOV))
    assert (done.returncode, f"{odd!r:.10}" in done.stderr) == (2, True)
    assert "is no representation" in done.stderr
    assert queued(installed) == [MOVIE]


def test_an_instance_that_is_none_holds_up_no_other(installed: Installed, tmp_path: Path) -> None:
    path = metadata_of(tmp_path, MOV)
    metadata = json.loads(path.read_text())
    metadata["instances"] = [None, {"representations": 5}, *metadata["instances"]]
    path.write_text(json.dumps(metadata))
    done = publish(installed, path)
    assert (done.returncode, done.stderr.count("is no instance")) == (2, 2)
    assert queued(installed) == [MOVIE]


def test_two_files_of_one_name_are_not_mixed(installed: Installed, tmp_path: Path) -> None:
    other = {**MOV, "files": "other.mov"}
    done = publish(installed, metadata_of(tmp_path, MOV, other))
    assert (done.returncode, "would get two files" in done.stderr) == (2, True)
    assert queued(installed) == [("renderMain_mov", MOVIE[1])]


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
    assert installed.requests == []


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
    assert queued(installed) == [MOVIE]
