"""What a job of a render manager says: ids, flags, outputs and frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.intake.errors import FramesError
from tasks.intake.job import (
    FLAGS,
    IN_JSON,
    OF_CONTEXT,
    TEXTS,
    files,
    flag,
    job_uploads,
    outputs,
    sequence,
    upload,
)
from tasks.intake.manifest import MANIFEST_KEYS
from tasks.intake.notation import parse
from tasks.intake.ranges import numbers_of, shortest

VERSION = "9f1d2c3b-0000-4000-8000-000000000001"


def looking_up(values: Mapping[str, str]) -> Any:
    """What managers answer of keys they do not know: an empty text."""
    return lambda key: values.get(key, "")


@pytest.mark.parametrize("word", ["1", "true", "YES", " on "])
def test_words_for_yes(word: str) -> None:
    assert flag(word) is True


@pytest.mark.parametrize("word", ["0", "False", "no", "OFF", "", "  ", None])
def test_words_for_no(word: str | None) -> None:
    assert flag(word) is False


@pytest.mark.parametrize("word", ["maybe", "2", "y", "nein"])
def test_another_word_is_an_error_that_names_it(word: str) -> None:
    with pytest.raises(ValueError, match=f"ftrack_encode is '{word}', which is neither yes nor no"):
        flag(word, "ftrack_encode")


def test_values_of_a_job_become_a_line_of_a_manifest() -> None:
    values = {
        "ftrack_version_id": VERSION,
        "ftrack_name": "beauty",
        "ftrack_name1": "depth",
        "ftrack_encode": "True",
        "ftrack_thumbnail": "1",
        "ftrack_thumbnail1": "0",
        "ftrack_metadata": '{"fps": "24"}',
        "ftrack_lists": '["dailies"]',
    }
    first, second = (upload("/a.exr", looking_up(values), number) for number in (0, 1))
    line = {"path": "/a.exr", "version_id": VERSION, "encode": True}
    line |= {"metadata": {"fps": "24"}, "lists": ["dailies"]}
    assert first == {**line, "name": "beauty", "thumbnail": True}
    assert second == {**line, "name": "depth"}


def test_a_job_without_an_id_has_no_line() -> None:
    assert upload("/a.exr", looking_up({"ftrack_name": "main"})) == {}


def test_what_is_not_valid_stays_in_the_line_and_is_refused_later() -> None:
    values = {"ftrack_version_id": VERSION, "ftrack_encode": "maybe", "ftrack_metadata": "{"}
    line = upload("/a.exr", looking_up(values))
    assert (line["encode"], line["metadata"]) == ("maybe", "{")


def test_a_job_may_have_all_keys_of_a_manifest() -> None:
    # The hook looks at no file, so that it would not notice a missing one.
    keys = {*TEXTS, *OF_CONTEXT, *FLAGS, *IN_JSON, "path"}
    assert keys == set(MANIFEST_KEYS) - {"allow_missing"}


def test_a_job_may_have_a_context_in_place_of_an_id() -> None:
    values = {"ftrack_context": "demo/sh010", "ftrack_asset": "beauty", "ftrack_task": "a"}
    made = {"context": "demo/sh010", "asset": "beauty", "task": "a", "path": "/a.exr"}
    assert upload("/a.exr", looking_up(values)) == made
    # Without both, they may be for something else.
    assert upload("/a.exr", looking_up({"ftrack_context": "demo", "ftrack_task": "a"})) == {}
    line = upload("/a.exr", looking_up({**values, "ftrack_version_id": VERSION}))
    assert line == {"version_id": VERSION, "path": "/a.exr"}


@pytest.mark.parametrize(
    ("path", "frames", "written"),
    [
        ("/p/f.####.exr", [1003, 1001, 1002, 1010], "/p/f.%04d.exr [1001-1003, 1010]"),
        ("/p/f.####.exr", [7], "/p/f.0007.exr"),
        ("/p/f.????.exr", [1, 2], "/p/f.%04d.exr [1-2]"),
        ("/p/f.@@@@.exr", [1, 2], "/p/f.%04d.exr [1-2]"),
        ("/p/f.$F4.exr", [1, 2], "/p/f.%04d.exr [1-2]"),
        ("/p/f.%04d.exr", [1, 2], "/p/f.%04d.exr [1-2]"),
        ("/p/f.%04d.exr", [7], "/p/f.0007.exr"),
        ("/p/f.%d.exr", [9, 10], "/p/f.%01d.exr [9-10]"),
        ("/p/take #3/v#2_#.exr", [9, 10], "/p/take #3/v#2_%01d.exr [9-10]"),
        ("/p/logo@2x.####.exr", [9, 10], "/p/logo@2x.%04d.exr [9-10]"),
        (r"P:\sh 010\f.##.exr", [1, 2], r"P:\sh 010\f.%02d.exr [1-2]"),
        (r"\\nas\prod\main.mov", [1, 2], r"\\nas\prod\main.mov"),
        ("/p/f.####.exr", [], "/p/f.####.exr"),
        ("/p/f#a.exr", [9, 10], "/p/f%01da.exr [9-10]"),
        ("/p/f_####.exr", [998, 10000], "/p/f_%04d.exr [998, 10000]"),
        ("/p/f.<F4>.exr", [1, 2], "/p/f.%04d.exr [1-2]"),
        ("/p/f_[####].exr", [7], "/p/f_0007.exr"),
        ("/p/f.{frame:04d}.exr", [7], "/p/f.0007.exr"),
        ("/p/take#2_%04d.exr", [1, 2], "/p/take#2_%04d.exr [1-2]"),
        ("/p/t#_/a.mov", [1, 2], "/p/t#_/a.mov"),
        # The frames of a job are not the tiles of a texture.
        ("/p/t.<UDIM>.exr", [1, 2], "/p/t.<UDIM>.exr"),
        ("/p/t.<UDIM>.exr", [1], "/p/t.<UDIM>.exr"),
        ("/p/udim_t.####.exr", [1, 2], "/p/udim_t.%04d.exr [1-2]"),
    ],
)
def test_frames_are_written_as_farmhaul_reads_them(
    path: str, frames: list[int], written: str
) -> None:
    assert sequence(path, frames) == written
    if "[" in written:
        read = parse(written)
        assert read is not None
        assert read.numbers == tuple(sorted(frames))


@pytest.mark.parametrize(
    ("path", "frames"),
    [
        ("/p/f.<frame>.exr", [1, 2]),
        ("/p/f.$FF.exr", [7]),
        ("/p/f.####_%04d.exr", [1, 2]),
        ("/p/f.1-3#.exr", [1, 2]),
        ("/p/f.####.exr", [-1, 1]),
        ("/p/f.####.exr", [-5]),
    ],
)
def test_a_mark_that_cannot_be_read_is_left_to_enqueue_to_refuse(
    path: str, frames: list[int]
) -> None:
    written = sequence(path, frames)
    with pytest.raises(FramesError):
        parse(written)


@given(st.sets(st.integers(0, 40), min_size=1))
def test_ranges_are_the_same_frames_for_the_command(numbers: set[int]) -> None:
    assert numbers_of(shortest(sorted(numbers)), "") == tuple(sorted(numbers))


@pytest.mark.parametrize(
    ("numbers", "written"),
    [
        (range(1, 4001, 2), "1-3999x2"),
        ([1, 3, 4, 5], "1, 3-5"),
        ([1, 3, 5, 6], "1-5x2, 6"),
        ([1, 2, 4], "1-2, 4"),
        ([1, 11], "1, 11"),
        ([7], "7"),
    ],
)
def test_a_step_makes_ranges_short(numbers: Iterable[int], written: str) -> None:
    assert shortest(numbers) == written


def test_outputs_are_pairs_of_folder_and_name() -> None:
    folders, names = ["/p/a/", "P:\\b\\", "/c", "", "/d"], ["x", "y", "z", "/e/v", r"P:\w"]
    assert [*outputs(folders, names)] == [
        (0, "/p/a/x", ""),
        (1, "P:\\b/y", ""),
        (2, "/c/z", ""),
        (3, "/e/v", ""),
        (4, r"P:\w", ""),
    ]


def test_what_an_output_lacks_is_named_and_the_others_count() -> None:
    assert [*outputs(["/a", "/b", ""], ["x.exr"])] == [
        (0, "/a/x.exr", ""),
        (1, "/b", "output 1 has a folder and no file name: /b"),
    ]
    assert [*outputs([""], ["x.exr"])] == [
        (0, "x.exr", "output 0 has a file name and no folder: x.exr")
    ]


ID = {"ftrack_version_id": VERSION}


@pytest.mark.parametrize(
    ("values", "folders", "names", "paths", "faults"),
    [
        (ID, ["/a", "/b"], ["f.####.exr", "g.exr"], ["/a/f.%04d.exr [1-2]", "/b/g.exr"], []),
        # A job that says nothing of ftrack is left alone, whatever it lacks.
        ({}, ["/a"], [], [], []),
        ({"ftrack_version_id": " "}, None, None, [], []),
        # What it says comes to nothing, and nobody would notice.
        (ID, None, None, [], ["the job has no output"]),
        (ID, ["/a"], [], [], ["output 0 has a folder and no file name: /a"]),
        (ID, [], ["/a/g.exr"], ["/a/g.exr"], []),
        (ID, ["/a"], ["f.exr", "g.exr"], ["/a/f.exr"], ["output 1 has a file name and no folder"]),
        ({"ftrack_name": "main"}, ["/a"], ["g.exr"], [], ["the job has ftrack_name, and no ftr"]),
        ({"ftrack_encode": "1"}, None, None, [], ["the job has no output"]),
        ({"ftrack_lists": "[]"}, ["/a"], ["g"], [], ["the job has ftrack_lists, and no ftrack_v"]),
        ({**ID, "ftrack_attributes2": "{}"}, ["/a"], ["g"], ["/a/g"], ["_attributes2, and no ou"]),
        ({"ftrack_version_id1": VERSION}, ["/a"], ["g"], [], ["_version_id1, and no output 1"]),
        ({**ID, "ftrack_name3": "x"}, ["/a"], ["g"], ["/a/g"], ["ftrack_name3, and no output 3"]),
        # An output may be left out on purpose.
        ({"ftrack_version_id0": VERSION}, ["/a", "/b"], ["g"], ["/a/g"], []),
        ({"ftrack_version_id0": VERSION, "ftrack_fps": "1"}, ["/a", ""], ["g"], ["/a/g"], []),
        (
            {"ftrack_version_id0": VERSION, "ftrack_name1": "x"},
            ["/a", "/b"],
            ["g", "h"],
            ["/a/g"],
            ["the job has ftrack_name1, and no ftrack_version_id1: set the id"],
        ),
    ],
)  # fmt: skip
def test_what_a_job_says_of_ftrack_is_queued_or_named(
    values: dict[str, str],
    folders: list[str] | None,
    names: list[str] | None,
    paths: list[str],
    faults: list[str],
) -> None:
    lines, found = job_uploads(folders, names, [1, 2], looking_up(values))
    assert [line["path"] for line in lines] == paths
    assert len(found) == len(faults)
    assert all(what in text for what, text in zip(faults, found, strict=True))


def test_an_output_whose_path_cannot_be_mapped_leaves_the_others() -> None:
    def here(path: str) -> str:
        if "b" in path:
            raise RuntimeError("no rule")
        return path.replace("P:", "/mnt")

    lines, faults = job_uploads(["P:/a", "P:/b"], ["f.#", "f"], [1], looking_up(ID), here=here)
    assert [line["path"] for line in lines] == ["/mnt/a/f.1"]
    assert faults == ["output 1 (P:/b/f): RuntimeError: no rule"]


def test_each_frame_of_a_task_may_be_a_line() -> None:
    lines, _ = job_uploads(["/a"], ["f.##"], [1, 2], looking_up(ID), each_frame=True)
    assert [line["path"] for line in lines] == ["/a/f.01", "/a/f.02"]


def test_spaces_around_the_names_of_an_output_are_part_of_them() -> None:
    folders, names = ["/a ", " /b\r", "/c", " \t"], [" f .mov ", "g.mov", "  ", ""]
    lines, faults = job_uploads(folders, names, [1], looking_up(ID))
    assert [line["path"] for line in lines] == ["/a / f .mov ", "/b/g.mov"]
    assert faults == ["output 2 has a folder and no file name: /c"]


def test_a_job_of_too_many_frames_is_refused_as_one() -> None:
    frames = iter(range(3_000_000))
    found = job_uploads(["/a", "/b"], ["f.#", "g.#"], frames, looking_up(ID), each_frame=True)
    assert found == ([], ["the job has more than 100000 frames: submit it in parts"])
    assert next(frames) == 100_001, "no more are read"
    assert job_uploads(["/a"], ["f.#"], range(100_001), looking_up({})) == ([], [])
    [line], faults = job_uploads(["/a"], ["f.#"], range(100_000), looking_up(ID))
    assert (line["path"], faults) == ("/a/f.%01d [0-99999]", [])


@pytest.mark.parametrize("frames", [None, []])
def test_without_frames_the_output_is_left_to_be_refused(frames: list[int] | None) -> None:
    for each_frame in (False, True):
        lines, _ = job_uploads(["/a"], ["f.##.exr"], frames, looking_up(ID), each_frame=each_frame)
        assert [line["path"] for line in lines] == ["/a/f.##.exr"]


def test_files_by_frame_are_a_sequence_as_the_command_reads_it() -> None:
    assert files("/p", "a.mov") == "/p/a.mov"
    assert files("/p/", ["a.0001.exr"]) == "/p/a.0001.exr"
    assert files("/p", ["v2_a.1004.exr", "v2_a.1001.exr"]) == "/p/v2_a.%04d.exr [1001, 1004]"
    assert files("/p", ["a.9.exr", "a.10.exr"]) == "/p/a.%d.exr [9-10]"


@pytest.mark.parametrize(
    "names",
    [
        ["a.1001.exr", "b.1002.exr"],
        ["a.1001.exr", "notes.txt"],
        ["sh010_v001.exr", "sh010_v002.exr"],
        ["a.mov", "a.mp4"],
        ["a.1.mov", "a.2.mov"],
        [],
    ],
)
def test_files_that_are_not_one_sequence_are_an_error(names: list[str]) -> None:
    with pytest.raises(ValueError, match="/p"):
        files("/p", names)
