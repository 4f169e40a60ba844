"""Flamenco's job type, compiled by node as Flamenco would, and the command that comes out."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.farm import Farm
from tests.farm_hooks.conftest import TellP95
from tests.farm_hooks.flamenco import JOB_TYPE, compiled, upload_words
from tests.farm_hooks.stand import installed_in, timed, wait_stored


def test_the_task_that_queues_waits_for_every_render() -> None:
    job, _ = compiled(ftrack_version_id="9f1d")

    *renders, upload = job["tasks"]
    assert [task["name"] for task in renders] == ["render-1001-1002", "render-1003"]
    assert upload["dependencies"] == ["render-1001-1002", "render-1003"]
    assert upload["type"] == "misc"
    assert [task["commands"][0]["parameters"]["args"][-1] for task in renders] == [
        "1001..1002",
        "1003",
    ]


@pytest.mark.parametrize(
    ("output", "path"),
    [
        ("/p/f.######", "/p/f.%06d.exr [1001-1003]"),
        ("/p#1/f_##_v1", "/p#1/f_%02d_v1.exr [1001-1003]"),
        ("/p/v#2_##", "/p/v#2_%02d.exr [1001-1003]"),
        ("/p/f_", "/p/f_%04d.exr [1001-1003]"),
        # With a mark, Blender leaves an extension that is there; else the number comes after it.
        ("/p/f.####.exr", "/p/f.%04d.exr [1001-1003]"),
        ("/p/f.####.EXR", "/p/f.%04d.EXR [1001-1003]"),
        ("/p/f.exr", "/p/f.exr%04d.exr [1001-1003]"),
        ("/p/f.####.png", "/p/f.%04d.png.exr [1001-1003]"),
    ],
)
def test_the_path_is_written_as_farmhaul_reads_sequences(output: str, path: str) -> None:
    job, _ = compiled(ftrack_version_id="9f1d", render_output_path=output)

    assert upload_words(job)[1:] == [
        "-I", "-S", "-X", "utf8", "hook", "enqueue", "--version-id", "9f1d", "--", path,
    ]  # fmt: skip


def test_negative_frames_are_refused_before_they_are_rendered() -> None:
    with pytest.raises(AssertionError, match="ftrack has no negative frames"):
        compiled(ftrack_version_id="9f1d", frames="1-3, -2-2")


@pytest.mark.parametrize("movies", ["FFMPEG", "AVI_JPEG"])
def test_movies_are_refused_before_they_are_rendered(movies: str) -> None:
    with pytest.raises(AssertionError, match=f"{movies} makes movies; render images"):
        compiled(ftrack_version_id="9f1d", format=movies)
    compiled(format=movies)


@pytest.mark.parametrize("written", [".jpg", ".jpeg", ".JPG"])
def test_blender_leaves_both_spellings_of_an_extension(written: str) -> None:
    output = {"render_output_path": f"/p/f.####{written}", "image_file_extension": ".jpg"}
    job, _ = compiled(ftrack_version_id="9f1d", **output)

    words = upload_words(job)
    assert words[words.index("--") + 1] == f"/p/f.%04d{written} [1001-1003]"


def test_the_files_give_the_component_its_name_if_the_job_does_not() -> None:
    job, _ = compiled(ftrack_version_id="9f1d", ftrack_name="main")

    assert upload_words(job)[-4:-1] == ["--name", "main", "--"]
    [default] = [one["default"] for one in job["types"] if one["key"] == "ftrack_name"]
    assert default == ""


def test_a_job_without_an_ftrack_id_only_renders() -> None:
    job, said = compiled()

    assert {task["type"] for task in job["tasks"]} == {"blender"}
    assert "nothing will be uploaded" in said


def test_the_job_type_declares_every_setting_that_it_reads() -> None:
    job, _ = compiled()
    read = set(re.findall(r"(?<!\w)settings\.(\w+)", JOB_TYPE.read_text()))

    assert read == {setting["key"] for setting in job["types"]}


@pytest.mark.slurm
def test_the_compiled_command_brings_the_frames_into_ftrack(
    farm: Farm, out: Path, tmp_path: Path, tell_p95: TellP95
) -> None:
    for number in (1001, 1002, 1003):
        Path(out / f"f.{number:06d}.exr").write_bytes(b"frame %d" % number)
    job, _ = compiled(
        ftrack_version_id=farm.sandbox.ftrack.version_id, render_output_path=f"{out}/f.######"
    )
    words = upload_words(job, installed_in(tmp_path, farm))
    # exec runs it without a shell.
    done = subprocess.run(words, env={}, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    wait_stored(farm, [b"frame 1001", b"frame 1002", b"frame 1003"])
    tell_p95("the hook, by Flamenco's exec", timed(words, {}))
    farm.wait_quiet()
