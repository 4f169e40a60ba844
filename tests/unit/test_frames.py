"""Image sequences as people write them, and which of their frames are on disk."""

from __future__ import annotations

import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import clique
import pytest
from fileseq.constants import PAD_STYLE_HASH1, PAD_STYLE_HASH4
from fileseq.filesequence import FileSequence
from fileseq.frameset import FrameSet
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.intake.errors import FramesError
from tasks.intake.frames import read_frames
from tasks.intake.marks import MARKING
from tasks.intake.notation import Frames
from tasks.intake.ranges import MAX_SPAN


def _read(text: str | Path, *, look: bool = False, allow_missing: bool = False) -> Frames:
    frames = read_frames(str(text), look=look, allow_missing=allow_missing)
    assert frames is not None
    return frames


def _refused(text: str | Path, *, look: bool = False, allow_missing: bool = False) -> str:
    with pytest.raises(FramesError) as refused:
        read_frames(str(text), look=look, allow_missing=allow_missing)
    told = str(refused.value)
    assert told.isprintable(), "one line, whatever the names hold"
    return told


def _render(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"pixels")
    return folder


@pytest.mark.parametrize(
    ("text", "as_ftrack_writes_it"),
    [
        ("/p/f.%04d.exr [1001-1003]", "/p/f.%04d.exr [1001-1003]"),
        ("/p/f.%04d.exr [1001-1002, 1005, 1007-1008]", None),
        ("/p/f.%04d.exr [1005,1001-1002]", "/p/f.%04d.exr [1001-1002, 1005]"),
        ("/p/f.%04d.exr 1001-1003", "/p/f.%04d.exr [1001-1003]"),
        ("/p/f.####.exr 1001-1003", "/p/f.%04d.exr [1001-1003]"),
        ("/p/f.####.exr [1001-1003]", "/p/f.%04d.exr [1001-1003]"),
        ("/p/f.####.exr 1001-1002, 1005", "/p/f.%04d.exr [1001-1002, 1005]"),
        ("/p/f.####.exr 1001", "/p/f.%04d.exr [1001]"),
        ("/p/f.####.exr 1001-1007x2", "/p/f.%04d.exr [1001, 1003, 1005, 1007]"),
        ("/p/f.1001-1003#.exr", "/p/f.%04d.exr [1001-1003]"),
        ("/p/f.1-3##.exr", "/p/f.%02d.exr [1-3]"),
        ("/p/f.1-3@.exr", "/p/f.%d.exr [1-3]"),
        ("/p/f.1-3@@@@@.exr", "/p/f.%05d.exr [1-3]"),
        ("/p/f.1-3,7,9-13x2#.exr", "/p/f.%04d.exr [1-3, 7, 9, 11, 13]"),
        ("/p/f.1001#.exr", "/p/f.%04d.exr [1001]"),
        ("/p/f.1-3%03d.exr", "/p/f.%03d.exr [1-3]"),
        ("/p/f.$F4.exr [1001]", "/p/f.%04d.exr [1001]"),
        ("/p/f.$F.exr 8-12", "/p/f.%d.exr [8-12]"),
        ("/p/f.1-3$F3.exr", "/p/f.%03d.exr [1-3]"),
        ("/p/f.%014d.exr [20261124182200]", None),
        ("/p/f.%04d.exr [1-9x999999999999999999]", "/p/f.%04d.exr [1]"),
        ("/p/f.%d.exr [8-12]", None),
        ("/p/f.%01d.exr [8-12]", "/p/f.%d.exr [8-12]"),
        ("/p/f.%02d.exr [98-101]", None),
        ("/p/sh010_v003.%04d.exr [1001]", None),
        ("/p/sh010####.exr 1-2", "/p/sh010%04d.exr [1-2]"),
        ("/p/shot#3 100%.%04d.exr [1-2]", None),
        ("/p/a b/my shot 2.%04d.exr [1-2]", None),
        ("/p/Übersicht ✓.%04d.left.exr [1-2]", None),
        ("/p/100%d#/f.%04d [1-2]", None),
        ("%04d.exr [1-2]", None),
        ("1-2#.exr", "%04d.exr [1-2]"),
        ("/p/f.%04d.exr [1-3, 2-4, 2]", "/p/f.%04d.exr [1-4]"),
        ("/p/f.%04d.exr [ 1 - 3 ]", "/p/f.%04d.exr [1-3]"),
        ("/p/f.%04d.exr[1-3]", "/p/f.%04d.exr [1-3]"),
        ("/p/f.%04d.exr [1240-1238]", "/p/f.%04d.exr [1238-1240]"),
        ("/p/f.%04d.exr [10-1x-1]", "/p/f.%04d.exr [1-10]"),
        ("/p/f.%04d.exr [10-1x3]", "/p/f.%04d.exr [1, 4, 7, 10]"),
        ("/p/f.%04d.exr [10-1x-3]", "/p/f.%04d.exr [1, 4, 7, 10]"),
        ("/p/f.%04d.exr [1-10y3]", "/p/f.%04d.exr [2-3, 5-6, 8-9]"),
        ("/p/f.%04d.exr [10-1y-3]", "/p/f.%04d.exr [2-3, 5-6, 8-9]"),
        ("/p/f.%04d.exr [1-9x2, 2-8x2]", "/p/f.%04d.exr [1-9]"),
        ("/p/f.%04d.exr 1-10y3", "/p/f.%04d.exr [2-3, 5-6, 8-9]"),
        ("/p/f.3-1x-1,7#.exr", "/p/f.%04d.exr [1-3, 7]"),
        ("/p/f.%04i.exr [1]", "/p/f.%04d.exr [1]"),
        ("/p/f.${F4}.exr [1]", "/p/f.%04d.exr [1]"),
        ("/p/f.<F4>.exr [1]", "/p/f.%04d.exr [1]"),
        ("/p/f.<f5>.exr [1]", "/p/f.%05d.exr [1]"),
        ("/p/f.<F>.exr [1]", "/p/f.%d.exr [1]"),
        ("/p/f.<frame04>.exr [1]", "/p/f.%04d.exr [1]"),
        ("/p/f.<Frame:4>.exr [1]", "/p/f.%04d.exr [1]"),
        ("/p/f.{frame:04d}.exr [1]", "/p/f.%04d.exr [1]"),
        ("/p/f.{frame:0>4}.exr [1]", "/p/f.%04d.exr [1]"),
        ("/p/f.{frame:04}.exr [1]", "/p/f.%04d.exr [1]"),
        ("/p/f.$(frame:4).exr [1]", "/p/f.%04d.exr [1]"),
        ("/p/f.[FRAME:4].exr [1]", "/p/f.%04d.exr [1]"),
        ("/p/f.%(frame)04d.exr [1]", "/p/f.%04d.exr [1]"),
        ("/p/f.%(frame)d.exr [1]", "/p/f.%d.exr [1]"),
        ("/p/f.{:04d}.exr [1]", "/p/f.%04d.exr [1]"),
        ("/p/f.{0:03d}.exr [1]", "/p/f.%03d.exr [1]"),
        ("/p/f_[####].exr [1]", "/p/f_%04d.exr [1]"),
        ("/p/f_[#].exr [1]", "/p/f_%d.exr [1]"),
        ("/p/f.????.exr [1]", "/p/f.%04d.exr [1]"),
        ("/p/f.?.exr [1]", "/p/f.%d.exr [1]"),
        ("/p/t.<UDIM>.tex [1001, 1011]", "/p/t.%04d.tex [1001, 1011]"),
        ("/p/t.%(UDIM)d.tex [1001]", "/p/t.%04d.tex [1001]"),
        ("/p/sim.%04d.bgeo.sc [1-2]", None),
        ("/p/take #_%04d.exr [1-2]", None),
        ("/p/f [left].%04d.exr [1-2]", None),
        ("/p/f.%02d.exr [9998-10002]", None),
        ("/p/f.%03d.exr [998-1001]", None),
    ],
)
def test_a_sequence_is_read_in_each_notation(text: str, as_ftrack_writes_it: str | None) -> None:
    assert str(_read(text)) == (as_ftrack_writes_it or text)


@given(
    head=st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=9),
    tail=st.from_regex(r"\A(_[a-zü ]{0,3}[a-z])?\.[a-z]{3}\Z"),
    padding=st.sampled_from([0, 2, 3, 4, 7]),
    numbers=st.sets(st.integers(0, 10_100), min_size=1, max_size=9),
)
def test_ftracks_library_reads_what_we_write(
    head: str, tail: str, padding: int, numbers: set[int]
) -> None:
    # A mark ends what comes before: heads with one of their own are in other tests.
    frames = Frames(f"/p/{head}x.", tail, padding, tuple(sorted(numbers)))
    if not MARKING & set(head):
        assert _read(str(frames)) == frames
    theirs = clique.parse(str(frames))
    assert list(theirs) == [frames.path(number) for number in frames.numbers]


@settings(max_examples=60, deadline=None)  # fileseq takes its time
@given(
    head=st.from_regex(r"\A[a-z ü_]{1,9}\.\Z"),
    mark=st.sampled_from(["#", "##", "####", "@", "@@@", "%04d", "%d", "%3d", "$F", "$F4"]),
    ranges=st.lists(
        # From 1: of 0-0x1, fileseq 3.4 makes the frame -000.
        st.tuples(st.integers(1, 9999), st.integers(0, 30), st.integers(1, 9)),
        min_size=1,
        max_size=4,
    ),
)
def test_ranges_before_the_mark_are_read_as_by_fileseq(
    head: str, mark: str, ranges: list[tuple[int, int, int]]
) -> None:
    written = ",".join(f"{first}-{first + more}x{step}" for first, more, step in ranges)
    text = f"/p/{head}{written}{mark}.exr"
    ours = _read(text)
    theirs = FileSequence(text, pad_style=_pad_style(mark))
    assert sorted(ours.path(number) for number in ours.numbers) == sorted(map(str, theirs))


@given(first=st.integers(0, 10**18 - 1), more=st.integers(0, 300), step=st.integers(1, 400))
def test_a_range_has_the_frames_that_fileseq_finds(first: int, more: int, step: int) -> None:
    last = min(first + more, 10**18 - 1)
    for written in (f"{first}-{last}x{step}", f"{first}-{last}", f"{first}"):
        found = _read(f"/p/f.%d.exr [{written}]").numbers
        assert found == tuple(sorted(int(frame) for frame in FrameSet(written)))


@pytest.mark.parametrize(
    "mark",
    [
        "#",
        "##",
        "#" * 18,
        "@",
        "@@",
        "%d",
        "%0d",
        "%00d",
        "%1d",
        "%4d",
        "%04d",
        "%0018d",
        "$F",
        "$F0",
        "$F4",
        "$F04",
        "$F18",
    ],
)
def test_a_mark_has_the_digits_that_fileseq_counts(mark: str) -> None:
    digits = FileSequence.getPaddingNum(mark, pad_style=_pad_style(mark))
    assert _read(f"/p/f.{mark}.exr [1]").padding == (digits if digits > 1 else 0)


def _pad_style(mark: str) -> Any:
    # A single # is four digits, as in one of fileseq's styles; several are one each, as in the
    # other.
    return PAD_STYLE_HASH4 if mark == "#" else PAD_STYLE_HASH1


@pytest.mark.parametrize(
    "text",
    [
        "/p/main.exr",
        "/p/main.1001.exr",
        "/p/100%.png",
        "/p/100%done.mov",
        "/p/a%20a.mov",
        "/p/a%2Dfinal.mov",
        "/p/{{copy}.exr",
        "/p/50%25.mov",
        "/p/f.%s.exr",
        "/p/notes [1-3].txt",
        "/p/what?.mov",
        "/p/f [copy].exr",
        "/p/{copy}.exr",
        "/p/f (1-3).exr",
        "/p/take [3]",
        "/p/shot #3.mov",
        "/p/logo@2x.png",
        "/p/cost$Final.mov",
        "/p/$HOME/main.exr",
        "/p/f_%04d/main.exr",
        "/p/f-1-10.exr",
        "",
    ],
)
@pytest.mark.parametrize("look", [True, False])
def test_an_ordinary_name_is_not_a_sequence(text: str, look: bool) -> None:
    assert read_frames(text, look=look, allow_missing=False) is None


@pytest.mark.parametrize(
    "name", ["f.%04d.exr", "f.%04d.exr [1-2]", "f.####.exr", "f.1-2#.exr", "f.#.# 2-1"]
)
def test_an_existing_file_is_not_taken_for_a_pattern(tmp_path: Path, name: str) -> None:
    _render(tmp_path, name, "f.0001.exr", "f.0002.exr")
    assert read_frames(str(tmp_path / name), look=True, allow_missing=False) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/p/f.%04d.exr []", "an empty text is not a range"),
        ("/p/f.%04d.exr [1-2,]", "an empty text is not a range"),
        ("/p/f.%04d.exr [a-b]", "a-b is not a range"),
        ("/p/f.%04d.exr [1-2-3]", "1-2-3 is not a range"),
        ("/p/f.%04d.exr [-5-3]", "negative frame numbers are not"),
        ("/p/f.%04d.exr -5-3", "negative frame numbers are not"),
        ("/p/f.-5-3#.exr", "negative frame numbers"),
        ("/p/f.-%04d.exr [1-5]", "negative frame numbers"),
        ("/p/f.%04d.exr [1-9x0]", "1-9x0 is not a range"),
        ("/p/f.%04d.exr [1-9x-2]", "1-9x-2 runs forwards, and its step backwards; write 1-9x2"),
        ("/p/f.%04d.exr [1-9y1]", "has no frames"),
        ("/p/f.%04d.exr [1-10:5]", "one of 5 to others; write 1-10, or 1-10x5"),
        ("/p/f.1-10:5#.exr", "one of 5 to others; write 1-10, or 1-10x5"),
        ("/p/f.%04d.exr [-10--1x-1]", "negative frame numbers are not"),
        ("/p/f.%04d.exr [1..9]", "not a range"),
        ("/p/f.%04d.exr [1-9step2]", "every second frame"),
        ("/p/f.%04d.exr [1-100001y3]", "more than 100000 frames"),
        ("/p/f.$FF.exr [1]", "$FF is not the number of a frame"),
        ("/p/f.$SF4.exr [1]", "write $F4"),
        ("/p/f.<frame>.exr [1]", "if they have four, write f.%04d.exr"),
        ("/p/f.{frame}.exr", "{frame} does not say how many digits"),
        ("/p/f.[FRAME].exr [1]", "[FRAME] does not say how many digits"),
        ("/p/f.$(frame).exr [1]", "$(frame) does not say how many digits"),
        ("/p/f.%frame%.exr [1]", "%frame% does not say how many digits"),
        ("/p/f.$FRAME.exr [1]", "$FRAME is a token"),
        ("/p/f.{frame:0>{@frame_padding}}.exr [1]", "is a token"),
        ("/p/f.<aov>.%04d.exr [1]", "<aov> is a token"),
        ("/p/t.<UVTILE>.tex", "<UVTILE> is a token"),
        ("/p/f.%%04d.exr [1]", "%%04d has a % too many, as only batch"),
        ("/p/$HIPNAME.$F4.exr [1]", "$HIPNAME is a variable or an expression of Houdini's"),
        ("/p/`chs('a')`.$F4.exr [1]", "`chs('a')` is a variable or an expression of Houdini's"),
        ("/p/a_$take.####.exr [1]", "$take is a token"),
        ("/p/[compName]_[####].exr [1]", "[compName] is a token"),
        ("/p/[value a.name].%04d.exr [1]", "[value a.name] is a token"),
        ("/p/f.%04d.exr [1-2] [3]", "frames twice"),
        ("/p/f_%V.%04d.exr [1]", "%V stands for the names of eyes"),
        ("/p/f_%v.exr", "enqueue each eye with its own path"),
        ("/p/f.*.exr", "* is a wildcard; write %04d"),
        ("/p/f.[1001-1003].exr", "[1001-1003] is no place for frames"),
        ("/p/f.{1001..1003}.exr", "the frames after the name: f.%04d.exr [1001-1240]"),
        ("/p/f.1001.exr [1001-1003]", "no place for their numbers; write f.%04d.exr"),
        ("/p/f.####.<UDIM>.exr [1]", "2 places for the frame number (####, <UDIM>)"),
        ("/p/f_##.%04d.exr [1]", "2 places for the frame number (##, %04d)"),
        ("/p/f.%04d.exr [1--3]", "negative frame numbers are not"),
        ("/p/f.%04d.exr [-0]", "negative frame numbers are not"),
        ("/p/f.%04d.exr [1.5-3]", "not a range"),
        ("/p/f.%04d.exr [1#]", "not a range"),
        ("/p/f.%04d.exr [\u0661-\u0663]", "not a range"),
        ("/p/f.%04d.exr 1-5 step 2", "1-5 step 2 is not a range of frames; write 1001-1240"),
        ("/p/f.%04d.exr 1-5s2", "1-5s2 is not a range"),
        ("/p/f.%04d.exr (1-5)", "(1-5) is not a range"),
        ("/p/f.%04d.exr 1-5,!3", "!3 is not a range"),
        ("/p/f.%04d.exr 1t5", "1t5 is not a range"),
        ("/p/f.%04d.exr 1\u20135", "is not a range"),
        ("/p/f.{{Task.Param.Frame}}.exr", "{{Task.Param.Frame}} is a token"),
        ("/p/{{ shot }}.%04d.exr [1]", "{{ shot }} is a token"),
        ("/p/f.%(frame)s.exr", "%(frame)s is a token"),
        ("/p/f.%04D.exr", "%04D is a token"),
        ("/p/f.%08lld.exr", "%08lld is a token"),
        ("/p/f.%4.4d.exr", "%4.4d is a token"),
        ("/p/f.%4a.exr", "%4a is a token"),
        ("/p/f.%04d.exr [1-1000000]", "more than 100000 frames"),
        ("/p/f.%04d.exr [0-99999, 200000]", "more than 100000 frames"),
        ("/p/f.%04d.exr [1-99999999999]", "more than 100000 frames"),
        ("/p/f.%04d.exr [" + ",".join(["1-50000"] * 1000) + "]", "more than 100000 frames"),
        ("/p/f.%04d.exr [1-9x" + "9" * 29 + "]", "not a range"),
        ("/p/f.%04d.exr [" + "9" * 19 + "]", "not a range"),
        ("/p/f.%04d.exr [" + "9" * 29 + "]", "not a range"),
        ("/p/f.%04d.exr [" + "9" * 5000 + "]", "not a range"),
        ("/p/f.%099d.exr [1]", "99 digits; the maximum is 18"),
        ("/p/f.%04d.%04d.exr [1]", "2 places for the frame number (%04d, %04d)"),
        ("/p/f.#.####.exr 1", "2 places for the frame number (#, ####)"),
        ("/p/f.1-2#.exr [1-2]", "frames twice"),
        ("/p/f.%04d.exr [1\n2]", "not a range"),
    ],
)
def test_frames_that_are_not_valid_are_refused_with_the_reason(text: str, told: str) -> None:
    assert told in _refused(text)


def test_a_sequence_may_have_100000_frames_and_18_digits() -> None:
    assert len(_read("/p/f.%04d.exr [0-99999]").numbers) == 100_000
    assert "100000 frames" in _refused("/p/f.%04d.exr [0-100000]")
    assert _read("/p/f.%018d.exr [" + "9" * 18 + "]").numbers == (10**18 - 1,)
    assert "19 digits" in _refused("/p/f.%019d.exr [1]")


@pytest.mark.parametrize("text", ["/p/f.%04d.exr", "/p/f.####.exr", "/p/f.#.exr"])
def test_without_a_look_at_the_disk_a_pattern_needs_frames(text: str) -> None:
    assert _refused(text).endswith('write "/p/f.%04d.exr [1001-1240]"')


def test_without_a_look_at_the_disk_a_folder_is_refused(tmp_path: Path) -> None:
    _render(tmp_path, "f.0001.exr")
    assert "is a folder, and --no-stat" in _refused(f"{tmp_path}/")


def test_a_number_is_padded_and_a_longer_one_is_written_in_full() -> None:
    frames = _read("/p/f.%02d.exr [9-10, 100]")
    assert [frames.path(number) for number in frames.numbers] == [
        "/p/f.09.exr",
        "/p/f.10.exr",
        "/p/f.100.exr",
    ]
    assert frames.name(9) == "09"


@pytest.mark.parametrize("mark", ["%04d", "####", "#"])
def test_a_pattern_alone_takes_exactly_the_frames_that_exist(tmp_path: Path, mark: str) -> None:
    _render(
        tmp_path, *(f"f.{number:04d}.exr" for number in range(9998, 10003)),
        "f.exr", "f..exr", "f.9997.exr.tmp", "f.9997.jpg", "g.9997.exr",
        "f.٩٩٩٧.exr", "f.9997a.exr",
    )  # fmt: skip
    (tmp_path / "f.9997.exr").mkdir()
    frames = _read(tmp_path / f"f.{mark}.exr", look=True)
    assert str(frames) == f"{tmp_path}/f.%04d.exr [9998-10002]"


@pytest.mark.parametrize(
    ("mark", "left_out"), [("%d", "f.02.exr"), ("%02d", "f.0.exr"), ("##", "f.0.exr")]
)
def test_a_pattern_that_leaves_frames_out_needs_them_named(
    tmp_path: Path, mark: str, left_out: str
) -> None:
    _render(tmp_path, "f.0.exr", "f.1.exr", "f.02.exr", "f.10.exr", "f.11.exr")
    told = _refused(tmp_path / f"f.{mark}.exr", look=True, allow_missing=True)
    assert f" does not match {left_out}, " in told
    assert _read(told.rpartition(": ")[2], look=True).numbers


def test_a_pattern_takes_only_the_frames_that_are_named(tmp_path: Path) -> None:
    _render(tmp_path, "f.0.exr", "f.1.exr", "f.02.exr", "f.2.exr")
    assert _read(tmp_path / "f.%d.exr [0-2]", look=True).numbers == (0, 1, 2)


def test_hidden_frames_are_found_by_a_hidden_pattern(tmp_path: Path) -> None:
    _render(tmp_path, ".f.01.exr", ".f.02.exr")
    assert _read(tmp_path / ".f.%02d.exr", look=True).numbers == (1, 2)


def test_a_relative_pattern_starts_at_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _render(tmp_path / "out", "f.01.exr")
    monkeypatch.chdir(tmp_path)
    assert str(_read("out/f.%02d.exr", look=True)) == "out/f.%02d.exr [1]"
    monkeypatch.chdir(tmp_path / "out")
    assert str(_read("f.%02d.exr", look=True)) == "f.%02d.exr [1]"


def test_holes_between_first_and_last_frame_are_named(tmp_path: Path) -> None:
    _render(tmp_path, *(f"f.{number}.exr" for number in (1001, 1002, 1004, 1008, 1009)))
    for text in (tmp_path / "f.%04d.exr", tmp_path):
        told = _refused(text, look=True)
        assert f"{tmp_path}/f.%04d.exr: 4 of 9 frames are missing: 1003, 1005-1007;" in told
        kept = _read(text, look=True, allow_missing=True)
        assert kept.numbers == (1001, 1002, 1004, 1008, 1009)


def test_named_frames_that_are_missing_are_listed(tmp_path: Path) -> None:
    _render(tmp_path, *(f"f.{number}.exr" for number in (1001, 1002, 1004)))
    text = f"{tmp_path}/f.%04d.exr [1001-1004, 1010]"
    assert "2 of 5 frames are missing: 1003, 1010;" in _refused(text, look=True)
    assert _read(text, look=True, allow_missing=True).numbers == (1001, 1002, 1004)


def test_gaps_that_the_user_wrote_are_not_missing_frames(tmp_path: Path) -> None:
    _render(tmp_path, *(f"f.{number}.exr" for number in (1001, 1002, 1003, 1009)))
    assert _read(f"{tmp_path}/f.%04d.exr [1001, 1009]", look=True).numbers == (1001, 1009)


def test_a_long_list_of_missing_frames_is_shortened(tmp_path: Path) -> None:
    _render(tmp_path, *(f"f.{number:04d}.exr" for number in range(0, 100, 2)))
    told = _refused(tmp_path, look=True)
    assert "49 of 99 frames are missing: 1, 3, 5, 7, 9, 11, 13, 15, 17, 19 and 39 more;" in told


@pytest.mark.parametrize(("holes", "more"), [(10, ""), (11, " and 1 more")])
def test_up_to_ten_ranges_of_missing_frames_are_named(
    tmp_path: Path, holes: int, more: str
) -> None:
    _render(tmp_path, *(f"f.{number:04d}.exr" for number in range(0, 2 * holes + 1, 2)))
    assert f": 1, 3, 5, 7, 9, 11, 13, 15, 17, 19{more}; " in _refused(tmp_path, look=True)


@pytest.mark.parametrize(("letters", "more"), [("abc", False), ("abcd", True)])
def test_up_to_three_sequences_of_a_folder_are_named(
    tmp_path: Path, letters: str, *, more: bool
) -> None:
    _render(tmp_path, *(f"{letter}.1001.exr" for letter in letters))
    assert (" and 1 more)" in _refused(tmp_path, look=True)) == more


def test_a_hole_of_millions_of_frames_is_reported_by_its_ends(tmp_path: Path) -> None:
    _render(tmp_path, "f.0001.exr", "f.9999999999.exr")
    assert "missing: 2-9999999998;" in _refused(tmp_path / "f.%04d.exr", look=True)


@pytest.mark.parametrize("allow_missing", [True, False])
@pytest.mark.parametrize("frames", ["", " [1001-1002]"])
def test_a_pattern_without_a_file_is_refused(
    tmp_path: Path, frames: str, allow_missing: bool
) -> None:
    _render(tmp_path, "f.01001.exr")
    text = f"{tmp_path}/f.%04d.exr{frames}"
    told = _refused(text, look=True, allow_missing=allow_missing)
    assert "(but f.01001.exr exists)" in told


@pytest.mark.parametrize("allow_missing", [True, False])
def test_named_frames_of_which_none_exists_are_refused(
    tmp_path: Path, *, allow_missing: bool
) -> None:
    _render(tmp_path, "f.1001.exr")
    text = f"{tmp_path}/f.%04d.exr [1002-1003]"
    told = _refused(text, look=True, allow_missing=allow_missing)
    assert "[1002-1003]: none of these frames exists" in told


def test_a_pattern_in_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    told = _refused(tmp_path / "away" / "f.%04d.exr [1-2]", look=True)
    assert f"{tmp_path}/away/ here: No such file or directory" in told


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["sh010_v003.1001.exr", "sh010_v003.1002.exr"], "sh010_v003.%04d.exr"),
        (["f.8.exr", "f.9.exr", "f.10.exr"], "f.%d.exr"),
        (["f.08.exr", "f.09.exr", "f.10.exr"], "f.%02d.exr"),
        (["f.099.exr", "f.100.exr"], "f.%03d.exr"),
        (["f.99.exr", "f.100.exr"], "f.%02d.exr"),
        (["f.0999.exr", *(f"f.{n}.exr" for n in range(1000, 1002))], "f.%04d.exr"),
        (["f.099.exr", *(f"f.{n}.exr" for n in range(100, 1001))], "f.%03d.exr"),
        ([f"f.{n:04d}.exr" for n in range(998, 1002)], "f.%04d.exr"),
        (["f.998.exr", "f.999.exr", "f.1000.exr", "f.1001.exr"], "f.%03d.exr"),
        (["f.9998.exr", "f.9999.exr", "f.10000.exr"], "f.%04d.exr"),
        (["sim.1001.bgeo.sc", "sim.1002.bgeo.sc"], "sim.%04d.bgeo.sc"),
        (["f.exr.0001", "f.exr.0002"], "f.exr.%04d"),
        (["f.1001_v002.exr", "f.1002_v002.exr"], "f.%04d_v002.exr"),
        (["f.1001_cam1.exr", "f.1002_cam1.exr"], "f.%04d_cam1.exr"),
        (["f.1001_cam1.exr"], "f.%04d_cam1.exr"),
        (["f_2k_1001.exr", "f_2k_1002.exr"], "f_2k_%04d.exr"),
        (["f.1001.1920x1080.exr", "f.1002.1920x1080.exr"], "f.%04d.1920x1080.exr"),
        (["_tile_1x1_2x2_f.1001.exr", "_tile_1x1_2x2_f.1002.exr"], "_tile_1x1_2x2_f.%04d.exr"),
        (["v.0001.vdb.gz", "v.0002.vdb.gz"], "v.%04d.vdb.gz"),
        (["t.1001.tex", "t.1002.tex"], "t.%04d.tex"),
        (["f.1001.left.exr", "f.1002.left.exr"], "f.%04d.left.exr"),
        (["f.1001", "f.1002"], "f.%04d"),
        (["shot-0000.exr", "shot-0001.exr"], "shot-%04d.exr"),
        (["f.1001_left.exr", "f.1002_left.exr"], "f.%04d_left.exr"),
        (["a\\b.1001.exr", "a\\b.1002.exr"], "a\\b.%04d.exr"),
        (["f1001", "f1002"], "f%04d"),
        (["1001.exr", "1002.exr"], "%04d.exr"),
        (["f.0.exr", "f.1.exr"], "f.%d.exr"),
        (["f.1001.exr"], "f.%04d.exr"),
        (["f ü.1001.exr", "f ü.1002.exr"], "f ü.%04d.exr"),
    ],
)
def test_a_folder_stands_for_the_one_sequence_in_it(
    tmp_path: Path, names: list[str], pattern: str
) -> None:
    _render(tmp_path, *names)
    frames = _read(tmp_path, look=True)
    assert frames.pattern == f"{tmp_path}/{pattern}"
    assert {frames.path(number) for number in frames.numbers} == {
        str(tmp_path / name) for name in names
    }
    assert _read(f"{tmp_path}/", look=True) == frames


def test_other_files_of_a_folder_are_ignored(tmp_path: Path) -> None:
    _render(
        tmp_path, "f.1.exr", "f.2.exr", ".f.3.exr", "f.٣.exr", "Thumbs.db", "desktop.ini",
        "notes.txt",
    )  # fmt: skip
    (tmp_path / "f.3.exr").mkdir()
    assert _read(tmp_path, look=True).numbers == (1, 2)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ("f.1001.jpg", "f.%04d.jpg"),
        ("f.1001_left.exr", "f.%04d_left.exr"),
        ("f.1003 (copy).exr", "f.%04d (copy).exr"),
        ("thumb_v002", "thumb_v002"),
        ("f_v002.mov", "f_v002.mov"),
        ("f.1003.mov", "f.1003.mov"),
        ("g.1001.exr", "g.%04d.exr"),
        ("20261124182200.exr", "%014d.exr"),
        ("f.-001.exr", "f.-%03d.exr"),
    ],
)
def test_a_folder_with_another_numbered_file_is_refused(
    tmp_path: Path, other: str, named: str
) -> None:
    _render(tmp_path, "f.1001.exr", "f.1002.exr", other)
    told = _refused(tmp_path, look=True)
    assert f"more than one sequence (f.%04d.exr, {named})" in told
    assert told.endswith(f": {tmp_path}/f.%04d.exr")


def test_a_folder_full_of_sequences_is_refused_with_three_names(tmp_path: Path) -> None:
    _render(tmp_path, *(f"{letter}.1001.exr" for letter in "abcdefgh"))
    assert " and 5 more); " in _refused(tmp_path, look=True)


@given(
    names=st.sets(
        st.from_regex(r"\A(f|a b|sh-|v1_)[._]?(0{0,2}[1-9]{1,2}|x)(([_-]left)?\.exr)?\Z"),
        min_size=1,
        max_size=4,
    )
)
def test_every_numbered_file_is_a_frame_or_the_folder_is_refused(
    names: set[str],
) -> None:
    with TemporaryDirectory() as folder:
        _render(Path(folder), *names)
        try:
            frames = _read(folder, look=True, allow_missing=True)
        except FramesError:
            return
        found = {os.path.basename(frames.path(number)) for number in frames.numbers}
        assert found == {name for name in names if re.search("[0-9]", name)}


@pytest.mark.parametrize("names", [["f.1.exr", "f.02.exr"], ["f.001.exr", "f.0002.exr"]])
def test_a_folder_numbered_in_two_ways_is_refused(tmp_path: Path, names: list[str]) -> None:
    _render(tmp_path, *names)
    told = _refused(tmp_path, look=True)
    assert "numbered in two ways" in told
    assert all(name in told for name in names)


def test_a_folder_of_negative_frames_is_refused(tmp_path: Path) -> None:
    _render(tmp_path, "f.-002.exr", "f.-001.exr")
    assert "negative frame numbers" in _refused(tmp_path, look=True)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["sh010_v003.mov"], "sh010_v003.mov (it is a movie)"),
        (["f.1001.mp4", "f.1002.mp4"], "f.1001.mp4, f.1002.mp4 (it is a movie)"),
        (["sh010_v003.exr"], "sh010_v003.exr (its number is a version)"),
        (["sh010_v001.exr", "sh010_v002.exr"], "sh010_v002.exr (its number is a version)"),
        (["take1.wav", "take2.wav"], "(its number is a version)"),
        (["sh010.exr", "sh020.exr"], "sh010.exr, sh020.exr (its number is a shot)"),
        (["f_tile01.exr", "f_tile02.exr"], "f_tile02.exr (its number is a tile)"),
        (["_tile_1x1_2x2_.exr", "_tile_2x1_2x2_.exr"], "(its number is a size)"),
        (["t_u1_v1.tex", "t_u2_v1.tex"], "t_u2_v1.tex (its number is a version)"),
        (["f_2k.exr", "f_4k.exr"], "f_4k.exr (its number is a size)"),
        (["f (1).exr", "f (2).exr"], "f (2).exr (its number is a copy)"),
        (["f_cam1.exr", "f_cam2.exr"], "(its number is a camera or layer)"),
    ],
)
def test_what_is_no_frame_is_refused_with_its_path(
    tmp_path: Path, names: list[str], told: str
) -> None:
    _render(tmp_path, *names)
    refused = _refused(tmp_path, look=True, allow_missing=True)
    assert told in refused
    assert refused.endswith(f"write the path of each file: {tmp_path}/{min(names)}")


@pytest.mark.parametrize(
    "names",
    [
        ["f.1001_v001.exr", "f.1001_v002.exr"],
        ["sh010.1001.exr", "sh010.1002.exr", "sh020.1001.exr"],
        ["f.1001_left.exr", "f.1002_right.exr"],
        ["2024-01-01.exr", "2024-01-02.exr"],
        ["f_tile01.1001.exr", "f_tile02.1001.exr"],
        ["lay1_f.1001.exr", "lay2_f.1001.exr"],
        ["s_0010.0001.exr", "s_0011.0001.exr"],
        ["f.1001.0.exr", "f.1001.5.exr", "f.1002.0.exr"],
        ["f_1080.1001.exr", "f_1081.1001.exr", "f_1080.1002.exr"],
    ],
)
def test_two_things_are_never_one_sequence(tmp_path: Path, names: list[str]) -> None:
    _render(tmp_path, *names)
    assert "more than one sequence" in _refused(tmp_path, look=True, allow_missing=True)


@settings(max_examples=60, deadline=None)
@given(
    head=st.from_regex(r"\A[a-zü]([a-z0-9ü ]{0,7}[a-z0-9ü])?[._-]\Z"),
    tail=st.from_regex(r"\A(_(left|v[0-9]{2}|cam[12]|2k))?(\.exr|\.bgeo\.sc|\.vdb\.gz|\.tif)\Z"),
    padding=st.sampled_from([0, 3, 4]),
    numbers=st.sets(st.integers(0, 10_100), min_size=2, max_size=6),
)
def test_a_folder_and_the_pattern_of_its_frames_are_the_same(
    head: str, tail: str, padding: int, numbers: set[int]
) -> None:
    with TemporaryDirectory() as folder:
        written = Frames(f"{folder}/{head}", tail, padding, tuple(sorted(numbers)))
        names = {os.path.basename(written.path(number)) for number in written.numbers}
        _render(Path(folder), *names)

        def found(text: str) -> set[str]:
            frames = _read(text, look=True, allow_missing=True)
            return {os.path.basename(frames.path(number)) for number in frames.numbers}

        assert found(folder) == found(written.pattern) == found(str(written)) == names


def test_a_pattern_that_leaves_out_negative_frames_needs_frames(tmp_path: Path) -> None:
    _render(tmp_path, "f.-001.exr", "f.0000.exr", "f.0001.exr")
    told = _refused(tmp_path / "f.%04d.exr", look=True, allow_missing=True)
    assert "leaves out f.-001.exr, because ftrack does not support negative" in told
    assert _read(f"{tmp_path}/f.%04d.exr [0-1]", look=True).numbers == (0, 1)


def test_the_tiles_of_a_texture_need_not_be_neighbours(tmp_path: Path) -> None:
    _render(tmp_path, "t.1001.tex", "t.1011.tex")
    assert "1002-1010" in _refused(tmp_path / "t.%04d.tex", look=True)
    assert _read(tmp_path / "t.<UDIM>.tex", look=True).numbers == (1001, 1011)
    assert "1002" in _refused(f"{tmp_path}/t.<UDIM>.tex [1001-1003]", look=True)
    told = _refused("/p/t.<UDIM>.tex", look=False)
    assert "names no tiles, and --no-stat does not look at the disk" in told
    assert 'write "/p/t.<UDIM>.tex [1001-1004, 1011]"' in told


def test_a_sequence_with_the_word_udim_in_its_name_may_have_no_holes(tmp_path: Path) -> None:
    _render(tmp_path, "udim_bake.1001.exr", "udim_bake.1003.exr")
    assert "missing: 1002" in _refused(tmp_path / "udim_bake.%04d.exr", look=True)


@pytest.mark.parametrize("name", ["f\n.1.exr", "f\x1b[31m.1.exr", "f.1.e\udcffxr", "f\u2028.1.exr"])
def test_frames_whose_names_cannot_be_stored_are_refused(tmp_path: Path, name: str) -> None:
    _render(tmp_path, name)
    assert "cannot be stored" in _refused(tmp_path, look=True)


@pytest.mark.parametrize("names", [[], ["notes.txt", ".f.1001.exr"]])
def test_a_folder_without_frames_is_refused(tmp_path: Path, names: list[str]) -> None:
    _render(tmp_path, *names)
    assert "contains no frames" in _refused(tmp_path, look=True)


def test_an_unprintable_name_is_escaped_in_the_message(tmp_path: Path) -> None:
    _render(tmp_path, "f\n.1.exr", "g\udcff.1.exr")
    assert "f\\n.%d.exr" in _refused(tmp_path, look=True)


def test_a_folder_with_too_many_frames_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.intake.numbered.MAX_FRAMES", 3)
    _render(tmp_path, *(f"f.{number}.exr" for number in range(4)))
    assert "f.%d.exr has more than" in _refused(tmp_path, look=True)


def test_a_range_that_is_too_wide_is_refused_whatever_its_step() -> None:
    wide = MAX_SPAN
    assert "has more than" in _refused(f"f.%04d.exr [1-{wide + 1}x{wide}]", look=False)
    assert _read(f"f.%04d.exr [1-{wide}x{wide}]").numbers == (1,)
