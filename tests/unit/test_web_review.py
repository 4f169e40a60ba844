"""The metadata of a file that can be reviewed as it is."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.intake.errors import BadInputError
from tasks.intake.manifest import Entry
from tasks.intake.web_review import IMAGE, MP4, review_of
from tests.helpers.skipping import skip_loudly

Probe = Callable[[str], Path]

#: So many brackets are deeper than a parser of JSON goes.
DEEP = 200_000
#: As ffprobe writes it: https://ffmpeg.org/ffprobe.html#json
MOVIE: dict[str, Any] = {
    "programs": [],
    "streams": [
        {
            "width": 1280,
            "height": 720,
            "r_frame_rate": "24000/1001",
            "avg_frame_rate": "24000/1001",
            "duration": "10.010000",
            "nb_frames": "240",
        }
    ],
    "format": {"duration": "10.026667"},
}


@pytest.fixture
def ffprobe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Probe:
    """An ffprobe that runs a few lines of shell, and writes down its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(script: str) -> Path:
        program = folder / "ffprobe"
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {folder}/asked\n{script}\n')
        program.chmod(0o755)
        return folder / "asked"

    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return make


@pytest.fixture
def no_ffprobe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def _telling(told: object) -> str:
    return f"cat <<'END'\n{json.dumps(told)}\nEND"


def _stream(**changes: Any) -> dict[str, Any]:
    stream = {**MOVIE["streams"][0], **changes}
    return {"streams": [{key: value for key, value in stream.items() if value is not None}]}


def _meta(entry: Entry) -> dict[str, Any]:
    _, metadata = review_of(entry)
    assert set(metadata) == {"ftr_meta"}
    meta: dict[str, Any] = json.loads(metadata["ftr_meta"])
    return meta


def _refused(entry: Entry) -> str:
    with pytest.raises(BadInputError) as refused:
        review_of(entry)
    return str(refused.value)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/p/a.mp4", "ftrackreview-mp4"),
        ("/p/A.MP4", "ftrackreview-mp4"),
        ("/p/a.webm", "ftrackreview-webm"),
        ("/p/a.jpg", "ftrackreview-image"),
        ("/p/a.jpeg", "ftrackreview-image"),
        ("/p/a.png", "ftrackreview-image"),
    ],
)
def test_a_reviewable_component_has_the_name_that_ftrack_expects(
    ffprobe: Probe, path: str, name: str
) -> None:
    ffprobe(_telling(MOVIE))
    assert review_of(Entry(path))[0] == name


@pytest.mark.parametrize(
    ("resolution", "name"),
    [
        ("1280x720", "ftrackreview-mp4"),
        ("1919x1079", "ftrackreview-mp4"),
        ("1920x1080", "ftrackreview-mp4-1080"),
        ("2048x858", "ftrackreview-mp4-1080"),
        ("1080x1920", "ftrackreview-mp4-1080"),
        ("2560x1440", "ftrackreview-mp4-1440"),
        ("4096x1716", "ftrackreview-mp4-2160"),
        ("7680x4320", "ftrackreview-mp4-2160"),
    ],
)
def test_movies_of_different_resolutions_have_different_names(
    ffprobe: Probe, resolution: str, name: str
) -> None:
    ffprobe(_telling(MOVIE))
    assert review_of(Entry("/p/a.mp4", resolution=resolution))[0] == name


@pytest.mark.parametrize("path", ["/p/a.webm", "/p/a.png"])
def test_other_reviewables_have_one_name_in_each_resolution(ffprobe: Probe, path: str) -> None:
    ffprobe(_telling(MOVIE))
    name = review_of(Entry(path))[0]
    assert review_of(Entry(path, resolution="4096x2160"))[0] == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/p/a.mp4", "ftrackreview-mp4"),
        ("/p/a.mp4", "ftrackreview-mp4-2160"),
        ("/p/a.png", "ftrackreview-image-high"),
    ],
)
def test_the_user_may_choose_one_of_the_names_that_ftrack_knows(
    ffprobe: Probe, path: str, name: str
) -> None:
    ffprobe(_telling(MOVIE))
    assert review_of(Entry(path, name=name, resolution="1920x1080"))[0] == name


@pytest.mark.parametrize("name", ["", "cut", "ftrackreview-image", "ftrackreview-mp4-720"])
def test_a_name_that_ftracks_player_does_not_know_is_refused(ffprobe: Probe, name: str) -> None:
    ffprobe(_telling(MOVIE))
    assert "is not a name that ftrack's player knows for /p/a.mp4; it knows ftrackreview-mp4, " in (
        _refused(Entry("/p/a.mp4", name=name))
    )


def test_a_movie_is_described_by_ffprobe(ffprobe: Probe) -> None:
    asked = ffprobe(_telling(MOVIE))
    assert _meta(Entry("/p/a b.mp4")) == {
        "frameIn": 0,
        "frameOut": 240,
        "frameRate": 23.976024,
        "width": 1280,
        "height": 720,
    }
    assert asked.read_text().splitlines()[-1] == "file:/p/a b.mp4"


def test_ffprobe_reads_the_mapped_path(ffprobe: Probe) -> None:
    asked = ffprobe(_telling(MOVIE))
    review_of(Entry("P:\\a.mp4"), "/mnt/prod/a.mp4")
    assert asked.read_text().splitlines()[-1] == "file:/mnt/prod/a.mp4"


@pytest.mark.parametrize("nb_frames", [None, "N/A"])
def test_frames_without_a_count_are_counted_from_the_duration(
    ffprobe: Probe, nb_frames: str | None
) -> None:
    ffprobe(_telling({**_stream(nb_frames=nb_frames, duration=None), "format": {"duration": "2"}}))
    assert _meta(Entry("/p/a.webm", fps=None))["frameOut"] == 48


@pytest.mark.parametrize("odd", [5, "x", ["x"], [None], [[5]]])
def test_a_rotation_that_cannot_be_read_is_none(ffprobe: Probe, odd: object) -> None:
    ffprobe(_telling(_stream(side_data_list=odd, tags=odd)))
    assert _meta(Entry("/p/a.mp4"))["width"] == 1280


def test_a_whole_rate_is_a_whole_number(ffprobe: Probe) -> None:
    ffprobe(_telling(_stream(avg_frame_rate="0/0", r_frame_rate="25/1")))
    rate = _meta(Entry("/p/a.mp4"))["frameRate"]
    assert (rate, type(rate)) == (25, int)


def test_given_values_win_over_those_of_ffprobe(ffprobe: Probe) -> None:
    ffprobe(_telling(MOVIE))
    meta = _meta(Entry("/p/a.mp4", frame_range="1001-1240", fps="30000/1001"))
    assert (meta["frameIn"], meta["frameOut"]) == (0, 240)
    assert (meta["frameRate"], meta["width"]) == (29.97003, 1280)


def test_with_all_values_given_ffprobe_is_not_run(ffprobe: Probe) -> None:
    asked = ffprobe("exit 1")
    entry = Entry("/p/a.mp4", frame_range="1001-1240", fps="23.976", resolution="1920x1080")
    assert _meta(entry) == {
        "frameIn": 0,
        "frameOut": 240,
        "frameRate": 23.976,
        "width": 1920,
        "height": 1080,
    }
    assert not asked.exists()


@pytest.mark.usefixtures("no_ffprobe")
def test_without_ffprobe_the_missing_options_are_named() -> None:
    told = _refused(Entry("/p/a.mp4", fps="24", where="manifest line 3: "))
    assert told.startswith("manifest line 3: /p/a.mp4: ffprobe")
    assert "frame_range 1001-1240 and resolution 1920x1080" in told
    assert "fps" not in told
    assert "--frame-range 1001-1240" in _refused(Entry("/p/a.mp4", fps="24"))


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 1", "ffprobe cannot read the file"),
        ("echo '{}'", "ffprobe finds no picture in the file"),
        ("echo 'not JSON'", "ffprobe finds no picture in the file"),
        ("echo '[]'", "ffprobe finds no picture in the file"),
        ("echo null", "ffprobe finds no picture in the file"),
        ("echo 5", "ffprobe finds no picture in the file"),
        ("printf '\\377'", "ffprobe finds no picture in the file"),
        (f"head -c {DEEP} /dev/zero | tr '\\0' '['", "ffprobe finds no picture in the file"),
        (_telling({"streams": []}), "ffprobe finds no picture in the file"),
        (_telling({"streams": [None]}), "ffprobe finds no picture in the file"),
        (_telling({"streams": [["width"]]}), "ffprobe finds no picture in the file"),
        (_telling({"streams": {"width": 5}}), "ffprobe finds no picture in the file"),
        (_telling({**_stream(), "format": 5}), "ffprobe finds no picture in the file"),
        (_telling(_stream(width=None)), "does not report everything"),
        (_telling(_stream(width="1280")), "does not report everything"),
        (_telling(_stream(width=-1280)), "does not report everything"),
        (_telling(_stream(width=10**400, sample_aspect_ratio="3:1")), "does not report everything"),
        (_telling(_stream(nb_frames=[], duration=[])), "does not report everything"),
        (_telling(_stream(nb_frames=math.inf, duration=math.nan)), "does not report everything"),
        (
            _telling({"streams": [{**MOVIE["streams"][0], "nb_frames": None, "duration": None}]}),
            "does not report everything",
        ),
        (_telling(_stream(width=0, side_data_list=5, tags=5)), "does not report everything"),
        (_telling(_stream(r_frame_rate="0/0", avg_frame_rate="0/0")), "does not report everything"),
        (_telling(_stream(nb_frames="x", duration="x")), "does not report everything"),
    ],
)
def test_values_that_ffprobe_does_not_find_must_be_given(
    ffprobe: Probe, script: str, why: str
) -> None:
    ffprobe(script)
    told = _refused(Entry("/p/a.mp4"))
    assert why in told
    assert "; give " in told


def test_an_ffprobe_that_hangs_is_killed(ffprobe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.intake.web_review.PROBE_TIMEOUT_S", 0.1)
    ffprobe("exec sleep 60")
    assert "within 0.1 seconds" in _refused(Entry("/p/a.mp4"))


def test_ffprobe_is_not_run_where_nobody_looks_at_files(ffprobe: Probe, tmp_path: Path) -> None:
    ffprobe(f"touch {tmp_path}/asked")
    _, still = review_of(Entry("/p/a.png"), look=False)
    assert json.loads(still["ftr_meta"]) == {"format": "image"}
    with pytest.raises(BadInputError, match="nobody looks at the file; give values such as "):
        review_of(Entry("/p/a.mp4", fps="24"), look=False)
    assert not (tmp_path / "asked").exists()


@pytest.mark.usefixtures("no_ffprobe")
def test_a_still_needs_neither_ffprobe_nor_its_size() -> None:
    assert _meta(Entry("/p/a.png")) == {"format": "image"}
    assert _meta(Entry("/p/a.png", resolution="640x480")) == {
        "format": "image",
        "width": 640,
        "height": 480,
    }


def test_a_still_has_the_size_that_ffprobe_finds(ffprobe: Probe) -> None:
    ffprobe(_telling(_stream()))
    assert _meta(Entry("/p/a.jpg")) == {"format": "image", "width": 1280, "height": 720}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (Entry("/p/a.exr"), "/p/a.exr cannot be reviewed as it is: ftrack plays .mp4, .webm"),
        (Entry("/p/a.mov", frame_range="1-2", fps="24", resolution="1x1"), "use --encode"),
        (Entry("/p/a.png", frame_range="1-2"), "is a still"),
        (Entry("/p/a.png", fps="24"), "/p/a.png is a still image; --frame-range and --fps "),
        (Entry("/p/a.mp4", frame_range="1240-1001"), "write 1001-1240"),
        (
            Entry("/p/a.mp4", frame_range="1001"),
            "--frame-range '1001' is not a frame range; write 1001-1240",
        ),
        (Entry("/p/a.mp4", frame_range=""), "write 1001-1240"),
        (
            Entry("/p/a.mp4", fps="0"),
            "--fps '0' is not a frame rate; write 24, 23.976 or 24000/1001",
        ),
        (Entry("/p/a.mp4", fps="24/0"), "write 24, 23.976 or 24000/1001"),
        (Entry("/p/a.mp4", fps="nan"), "write 24, 23.976 or 24000/1001"),
        (Entry("/p/a.mp4", fps="90000"), "write 24, 23.976 or 24000/1001"),
        (Entry("/p/a.mp4", resolution="1920*1080"), "write 1920x1080"),
        (
            Entry("/p/a.mp4", resolution="0x1080"),
            "--resolution '0x1080' is not a size in pixels; write 1920x1080",
        ),
    ],
)
def test_values_that_are_not_valid_for_a_review_are_refused(entry: Entry, told: str) -> None:
    assert told in _refused(entry)


def test_values_at_their_limits_are_accepted() -> None:
    limits = Entry("/p/a.mp4", frame_range="1-999999999", fps="1000", resolution="99999x1")
    assert _meta(limits) == {
        "frameIn": 0,
        "frameOut": 999_999_999,
        "frameRate": 1000,
        "width": 99_999,
        "height": 1,
    }
    assert _meta(limits._replace(frame_range="7-7"))["frameOut"] == 1
    for beyond in (
        limits._replace(fps="1000.1"),
        limits._replace(resolution="100000x1"),
        limits._replace(frame_range="0-9999999999"),
    ):
        assert " is not a " in _refused(beyond)


@pytest.mark.parametrize(
    ("more", "size"),
    [
        ({"side_data_list": [{"side_data_type": "x"}, {"rotation": -90}]}, (720, 1280)),
        ({"side_data_list": [{"rotation": 180}]}, (1280, 720)),
        ({"tags": {"rotate": "270"}}, (720, 1280)),
        ({"tags": {"rotate": "odd"}}, (1280, 720)),
        ({"sample_aspect_ratio": "64:45"}, (1820, 720)),
        ({"sample_aspect_ratio": "0:1"}, (1280, 720)),
        ({"sample_aspect_ratio": "2:1", "tags": {"rotate": "90"}}, (720, 2560)),
    ],
)
def test_the_size_is_that_of_the_picture_as_it_is_shown(
    ffprobe: Probe, more: dict[str, Any], size: tuple[int, int]
) -> None:
    ffprobe(_telling(_stream(**more)))
    meta = _meta(Entry("/p/a.mp4"))
    assert (meta["width"], meta["height"]) == size


@pytest.mark.usefixtures("no_ffprobe")
def test_a_document_is_reviewed_page_by_page() -> None:
    name, metadata = review_of(Entry("/p/a.pdf"))
    assert (name, json.loads(metadata["ftr_meta"])) == ("ftrackreview-pdf", {"format": "pdf"})
    assert "is a document" in _refused(Entry("/p/a.pdf", fps="24"))


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_a_real_movie_is_described_by_the_real_ffprobe(tmp_path: Path, suffix: str) -> None:
    if not shutil.which("ffmpeg"):
        skip_loudly("NO REAL MOVIE WAS READ", "ffmpeg is not installed here")
    movie = tmp_path / f"a.{suffix}"
    source = "testsrc=size=64x48:rate=24000/1001:duration=1.001"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p"]
    subprocess.run([*command, str(movie)], check=True)
    assert _meta(Entry(str(movie))) == {
        "frameIn": 0,
        "frameOut": 24,
        "frameRate": 23.976024,
        "width": 64,
        "height": 48,
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metadata": {"ftr_meta": "[1]"}}, "--metadata ftr_meta is no JSON object"),
        ({"metadata": {"ftr_meta": '{"frameRate": NaN}'}}, "--metadata ftr_meta is no JSON object"),
        ({"metadata": {"ftr_meta": '{"frameOut": 1e999}'}}, "--metadata ftr_meta is no JSON"),
        ({"fps": "24"}, "--metadata ftr_meta says all of it; leave out --frame-range"),
        ({"path": "/mnt/r.mov"}, "--metadata ftr_meta needs --name, one of"),
        ({"name": "movie"}, "--metadata ftr_meta needs --name, one of"),
    ],
)
def test_metadata_that_the_user_gives_are_checked(options: dict[str, Any], said: str) -> None:
    entry = Entry("/mnt/r.mp4", version_id="v", reviewable=True, metadata={"ftr_meta": "{}"})
    with pytest.raises(BadInputError, match=re.escape(said)):
        review_of(entry._replace(**options))


def test_metadata_that_the_user_gives_count_as_they_are() -> None:
    given = {"ftr_meta": '{"frameIn": 0}', "shot": "1"}
    entry = Entry("/mnt/r.mov", version_id="v", name=MP4[0], reviewable=True, metadata=given)
    assert review_of(entry) == (MP4[0], {"ftr_meta": given["ftr_meta"]})
    png = entry._replace(path="/mnt/a.png", name=None)
    assert review_of(png) == (IMAGE[0], {"ftr_meta": given["ftr_meta"]})
