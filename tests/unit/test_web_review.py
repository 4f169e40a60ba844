"""What is told to ftrack of a file that can be reviewed as it is."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.intake.manifest import BadInputError, Entry
from tasks.intake.web_review import review_of

Probe = Callable[[str], Path]

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
    """An ffprobe that runs a few lines of shell, and notes its arguments."""
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
def test_a_component_for_review_has_the_name_that_ftrack_looks_for(
    ffprobe: Probe, path: str, name: str
) -> None:
    ffprobe(_telling(MOVIE))
    assert review_of(Entry(path))[0] == name


def test_a_movie_is_described_by_what_ffprobe_tells(ffprobe: Probe) -> None:
    asked = ffprobe(_telling(MOVIE))
    assert _meta(Entry("/p/a b.mp4")) == {
        "frameIn": 0,
        "frameOut": 240,
        "frameRate": 23.976024,
        "width": 1280,
        "height": 720,
    }
    assert asked.read_text().splitlines()[-1] == "file:/p/a b.mp4"


def test_the_path_on_this_machine_is_read_where_another_was_typed(ffprobe: Probe) -> None:
    asked = ffprobe(_telling(MOVIE))
    review_of(Entry("P:\\a.mp4"), "/mnt/prod/a.mp4")
    assert asked.read_text().splitlines()[-1] == "file:/mnt/prod/a.mp4"


@pytest.mark.parametrize("nb_frames", [None, "N/A"])
def test_where_the_frames_are_not_counted_the_duration_tells_their_number(
    ffprobe: Probe, nb_frames: str | None
) -> None:
    ffprobe(_telling({**_stream(nb_frames=nb_frames, duration=None), "format": {"duration": "2"}}))
    assert _meta(Entry("/p/a.webm", fps=None))["frameOut"] == 48


def test_a_whole_rate_is_a_whole_number(ffprobe: Probe) -> None:
    ffprobe(_telling(_stream(avg_frame_rate="0/0", r_frame_rate="25/1")))
    rate = _meta(Entry("/p/a.mp4"))["frameRate"]
    assert (rate, type(rate)) == (25, int)


def test_what_is_given_wins_over_what_ffprobe_tells(ffprobe: Probe) -> None:
    ffprobe(_telling(MOVIE))
    meta = _meta(Entry("/p/a.mp4", frame_range="1001-1240", fps="30000/1001"))
    assert (meta["frameIn"], meta["frameOut"]) == (1001, 1240)
    assert (meta["frameRate"], meta["width"]) == (29.97003, 1280)


def test_with_all_of_it_given_nothing_is_asked(ffprobe: Probe) -> None:
    asked = ffprobe("exit 1")
    entry = Entry("/p/a.mp4", frame_range="1001-1240", fps="23.976", resolution="1920x1080")
    assert _meta(entry) == {
        "frameIn": 1001,
        "frameOut": 1240,
        "frameRate": 23.976,
        "width": 1920,
        "height": 1080,
    }
    assert not asked.exists()


@pytest.mark.usefixtures("no_ffprobe")
def test_without_ffprobe_the_missing_options_are_named() -> None:
    told = _refused(Entry("/p/a.mp4", fps="24", where="manifest line 3: "))
    assert told == (
        "manifest line 3: /p/a.mp4: there is no ffprobe here to read the file with; "
        "give frame_range (1001-1240) and resolution (WxH)"
    )


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 1", "ffprobe can not read the file"),
        ("echo '{}'", "ffprobe finds no picture in the file"),
        ("echo 'not JSON'", "ffprobe finds no picture in the file"),
        ("echo '[]'", "ffprobe finds no picture in the file"),
        (_telling({"streams": []}), "ffprobe finds no picture in the file"),
        (_telling(_stream(width=None)), "ffprobe does not tell all that a review needs"),
        (_telling(_stream(r_frame_rate="0/0", avg_frame_rate="0/0")), "does not tell all"),
        (_telling(_stream(nb_frames="x", duration="x")), "does not tell all"),
    ],
)
def test_what_ffprobe_can_not_tell_is_to_be_given(ffprobe: Probe, script: str, why: str) -> None:
    ffprobe(script)
    told = _refused(Entry("/p/a.mp4"))
    assert why in told
    assert "; give " in told


def test_a_probe_that_hangs_is_given_up(ffprobe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.intake.web_review.PROBE_TIMEOUT_S", 0.1)
    ffprobe("exec sleep 60")
    assert "did not answer within 0.1 seconds" in _refused(Entry("/p/a.mp4"))


@pytest.mark.usefixtures("no_ffprobe")
def test_a_still_needs_neither_ffprobe_nor_its_size() -> None:
    assert _meta(Entry("/p/a.png")) == {"format": "image"}
    assert _meta(Entry("/p/a.png", resolution="640x480")) == {
        "format": "image",
        "width": 640,
        "height": 480,
    }


def test_the_size_of_a_still_is_told_where_ffprobe_knows_it(ffprobe: Probe) -> None:
    ffprobe(_telling(_stream()))
    assert _meta(Entry("/p/a.jpg")) == {"format": "image", "width": 1280, "height": 720}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (Entry("/p/a.exr"), "can not be reviewed as it is; ftrack plays .mp4, .webm"),
        (Entry("/p/a.mov", frame_range="1-2", fps="24", resolution="1x1"), "say encode"),
        (Entry("/p/a.png", frame_range="1-2"), "is a still"),
        (Entry("/p/a.png", fps="24"), "is a still"),
        (Entry("/p/a.mp4", frame_range="1240-1001"), "write 1001-1240"),
        (Entry("/p/a.mp4", frame_range="1001"), "write 1001-1240"),
        (Entry("/p/a.mp4", frame_range=""), "write 1001-1240"),
        (Entry("/p/a.mp4", fps="0"), "write 24, 23.976 or 24000/1001"),
        (Entry("/p/a.mp4", fps="24/0"), "write 24, 23.976 or 24000/1001"),
        (Entry("/p/a.mp4", fps="nan"), "write 24, 23.976 or 24000/1001"),
        (Entry("/p/a.mp4", fps="90000"), "write 24, 23.976 or 24000/1001"),
        (Entry("/p/a.mp4", resolution="1920*1080"), "write 1920x1080"),
        (Entry("/p/a.mp4", resolution="0x1080"), "write 1920x1080"),
    ],
)
def test_what_makes_no_sense_for_a_review_is_refused(entry: Entry, told: str) -> None:
    assert told in _refused(entry)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg here to make a movie with")
@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_a_real_movie_is_described_by_the_real_ffprobe(tmp_path: Path, suffix: str) -> None:
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
