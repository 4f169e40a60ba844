"""The names of components that users do not name, and the files that fetch makes of them."""

from __future__ import annotations

import posixpath
from operator import add

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tasks.intake.errors import BadInputError
from tasks.intake.notation import Frames
from tasks.transfer.names import PATTERN, default_name, file_type, pattern_metadata
from tests.helpers.entries import folder_with, given_back


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("beauty.exr", ".exr"),
        ("beauty.1001.EXR", ".EXR"),
        ("sim.0001.bgeo.sc", ".bgeo.sc"),
        ("v.0001.vdb.gz", ".vdb.gz"),
        ("a.tar.GZ", ".tar.GZ"),
        ("a.0001.gz", ".gz"),
        ("a.v002.gz", ".gz"),
        (".tar.gz", ".gz"),
        ("sim.0001", ""),
        ("sim.٤", ""),
        ("README", ""),
        ("ends.", ""),
        (".hidden", ""),
        ("Dr. No", ""),
        ("a.exr_old", ""),
        ("clip.mp4", ".mp4"),
        ("clip.3ds", ".3ds"),
        ("render.été", ".été"),
    ],
)
def test_the_type_of_a_file_is_its_extension(name: str, kind: str) -> None:
    assert file_type(name) == kind


@pytest.mark.parametrize(
    ("tail", "kind"),
    [(".exr", ".exr"), ("_left.exr", ".exr"), (".bgeo.sc", ".bgeo.sc"), ("", ""), (".0001", "")],
)
def test_the_type_of_a_sequence_is_that_of_its_tail(tail: str, kind: str) -> None:
    frames = Frames("/mnt/f.", tail, 4, (1,))

    assert frames.file_type == kind == file_type(posixpath.basename(frames.path(1)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/p/beauty.exr", "/p/beauty.jpg"),
        ("/p/sh010.mov", "/p/sh010.mp4"),
        ("/p/beauty/f.1001.exr", "/p/depth/f.1001.exr"),
        ("/p/left/f.1001.exr", "/p/right/f.1001.exr"),
        ("/p/L/fall.exr", "/p/R/fall.exr"),
        ("/p/CryptoMatte/f.exr", "/p/diffuse_direct/f.exr"),
        ("/p/sim.bgeo.sc", "/p/sim.vdb.gz"),
    ],
)
def test_files_that_lie_side_by_side_have_different_names(one: str, other: str) -> None:
    assert default_name(one) != default_name(other)


@pytest.mark.parametrize(
    ("head", "tail", "other"),
    [("/p/b.", "_left.exr", "_right.exr"), ("/p/b.", ".exr", ".jpg"), ("/p/", "L.exr", "R.exr")],
)
def test_sequences_that_lie_side_by_side_have_different_names(
    head: str, tail: str, other: str
) -> None:
    assert default_name(head, tail) != default_name(head, other)


def test_a_pass_in_the_name_is_not_put_before_it_again() -> None:
    assert default_name("/p/depth/sh010_Depth.exr") == "sh010_Depth"
    assert default_name("/p/diffuse_direct/f_diffuse.direct.exr") == "f_diffuse.direct"
    assert default_name("/p/z/frenzy.exr") == "z_frenzy"


@pytest.mark.parametrize("folder", ["v003", "images", "leftovers", "sh010_depth"])
def test_the_name_of_another_folder_is_left_out(folder: str) -> None:
    assert default_name(f"/depth/{folder}/f.exr") == "f"


# What enqueue takes, fetch gives back


#: Names as people and programs write them: dots, digits, spaces, Unicode, odd extensions, marks.
TEXTS = st.text(st.sampled_from(list("ab01._- %dé🎬#L$@")), max_size=8)
TYPES = st.sampled_from(
    ["", ".exr", ".EXR", ".jpg", ".bgeo.sc", ".vdb.gz", ".gz", ".0001", ".", ".été", "._old", ".%d"]
)
FOLDERS = st.sampled_from(["v003", "depth", "left", "Crypto_Matte", "a b", "%04d"])


@settings(deadline=None)
@given(folder=FOLDERS, text=TEXTS, kind=TYPES)
@example(folder="v003", text="b_jpg", kind=".jpg")
@example(folder="v003", text="sim", kind=".0001")
@example(folder="depth", text="100%d", kind=".exr")
def test_a_file_comes_back_under_its_name(folder: str, text: str, kind: str) -> None:
    name = f"x{text}{kind}"
    with folder_with(folder, [name]) as where:
        assert given_back(where / name, None, str(where)) == [name]


@settings(deadline=None)
@given(text=TEXTS, kind=TYPES, own=TEXTS.map("x{}".format) | st.just("main_jpg"))
@example(text="b", kind=".jpg", own="main_jpg")
def test_a_file_that_the_user_named_comes_back_under_that_name(
    text: str, kind: str, own: str
) -> None:
    name = f"x{text}{kind}"
    with folder_with("v003", [name]) as where:
        back = given_back(where / name, own, str(where))
        assert back == [name if own == default_name(f"/{name}") else own + file_type(name)]


@settings(deadline=None)
@given(
    folder=FOLDERS,
    head=st.sampled_from(["", "b.", "b_", "f", "100%_", "sim.f", "é 🎬 ", "a.exr", "b_jpg."]),
    tail=st.builds(add, st.sampled_from(["", "_left", "L", ".v2", ".left", " %", "_1a"]), TYPES),
    padding=st.sampled_from([0, 4]),
    numbers=st.sets(st.integers(0, 10_100), min_size=1, max_size=3),
)
@example("v003", "sim.", ".bgeo.sc", 4, {1, 2})
@example("v003", "v.", ".vdb.gz", 4, {1, 2})
@example("v003", "b.", "_left.exr", 4, {1, 2})
@example("v003", "sim.", "", 4, {1, 2})
@example("v003", "sim.", ".0001", 4, {1, 2})
@example("depth", "", ".exr", 4, {1, 2})
def test_frames_come_back_under_their_names(
    folder: str, head: str, tail: str, padding: int, numbers: set[int]
) -> None:
    frames = Frames(head, tail, padding, tuple(sorted(numbers)))
    names = sorted(map(frames.path, frames.numbers))
    with folder_with(folder, names) as where:
        try:
            back = given_back(f"{where}/{frames}", None, str(where))
        except BadInputError:
            assume(False)  # a pattern that cannot be written, as with two marks
        assert back == names


@pytest.mark.parametrize(
    ("pattern", "own", "first"),
    [
        ("b.%04d_left.exr", "main", "main.0001_left.exr"),
        ("b_%04d.exr", "main", "main_0001.exr"),
        ("b%04d.exr", "main", "main.0001.exr"),
        ("%04d.exr", "main", "main.0001.exr"),
        ("sim.%04d.bgeo.sc", "main", "main.0001.bgeo.sc"),
        ("sim.%04d.bgeo.sc", "x_bgeo_sc", "x_bgeo_sc.0001.bgeo.sc"),
        ("sim.%04d.bgeo.sc", "sim_bgeo_sc", "sim.0001.bgeo.sc"),
    ],
)
def test_frames_that_the_user_named_come_back_under_that_name(
    pattern: str, own: str, first: str
) -> None:
    names = [pattern.replace("%04d", number) for number in ("0001", "0002")]
    with folder_with("v003", names) as where:
        back = given_back(f"{where}/{pattern}", own, str(where))
        assert back == [first, first.replace("0001", "0002")]


@pytest.mark.parametrize(
    ("file", "own", "said"),
    [
        (".exr", None, "'.exr', which begins with a dot"),
        (".hidden.exr", None, "'.hidden.exr', which begins with a dot"),
        ("...", None, "'...', which begins with a dot"),
        (".%04d.exr", ".v", "'.v.1001.exr', which begins with a dot"),
        ("a\\b.exr", None, "'a\\\\b.exr', which has a slash in it"),
        ("f.exr", "a/b", "'a/b.exr', which has a slash in it"),
        ("f.exr", "..", "'...exr', which begins with a dot"),
        ("f.%04d.exr", "a/b", "'a/b.1001.exr', which has a slash in it"),
        ("f.exr", "é" * 126, "…, which has more than 255 bytes"),
        # The last frame has one digit more than the first.
        ("f.%d.exr", "x" * 249, "…, which has more than 255 bytes"),
    ],
)
def test_a_name_that_fetch_could_not_write_is_refused(
    file: str, own: str | None, said: str
) -> None:
    names = [file.replace("%04d", "1001").replace("%d", number) for number in ("9", "10")]
    with folder_with("v003", names) as where, pytest.raises(BadInputError) as refused:
        given_back(where / file, own, str(where))
    assert said in str(refused.value)
    assert str(refused.value).endswith("; set another name")


@pytest.mark.parametrize(
    ("folder", "file", "own", "back"),
    [
        ("v003", ".hidden.exr", "main", ["main.exr"]),
        ("depth", ".hidden.exr", None, ["depth_.hidden.exr"]),
        ("v003", ".%d.exr", None, ["v003.10.exr", "v003.9.exr"]),
        ("v003", "f.exr", "é" * 125, ["é" * 125 + ".exr"]),
        ("v003", "f.%d.exr", "x" * 249, ["x" * 249 + ".9.exr"]),
    ],
)
def test_a_name_that_fetch_can_write_is_accepted(
    folder: str, file: str, own: str | None, back: list[str]
) -> None:
    numbers = ("9", "10") if len(back) > 1 else ("9",)
    with folder_with(folder, [file.replace("%d", number) for number in numbers]) as where:
        assert given_back(where / file, own, str(where)) == back


@settings(deadline=None)
@given(own=st.text(max_size=5) | st.text(st.sampled_from("x./\\"), max_size=5), is_sequence=...)
def test_what_is_accepted_can_be_fetched(own: str, is_sequence: bool) -> None:
    with folder_with("v003", ["f.1001.exr"]) as where:
        try:
            [name] = given_back(
                where / ("f.%04d.exr" if is_sequence else "f.1001.exr"), own, str(where)
            )
        except BadInputError:
            return
        assert name


@pytest.mark.parametrize(
    ("file", "own"),
    [
        ("a.mov", "ftrackreview-mp4"),
        ("a.mp4", "ftrackreview-mp4-1080"),
        ("a.jpg", "ftrackreview-image-high"),
        ("f.1001.exr", "ftrackreview-webm"),
        ("f.%04d.exr", "ftrackreview-image"),
        ("ftrackreview-mp4.exr", None),
    ],
)
def test_a_name_of_ftracks_player_is_refused_without_reviewable(file: str, own: str | None) -> None:
    names = [file.replace("%04d", "1001")]
    with folder_with("v003", names) as where, pytest.raises(BadInputError) as refused:
        given_back(where / file, own, str(where))
    assert str(refused.value).endswith("a reviewable; use reviewable, or another name")


def test_a_name_that_only_begins_like_a_reserved_one_is_accepted() -> None:
    with folder_with("v003", ["ftrackreview-mp4.mp4"]) as where:
        [back] = given_back(where / "ftrackreview-mp4.mp4", None, str(where))
    assert back == "ftrackreview-mp4.mp4"


def test_files_that_take_over_a_component_always_have_a_pattern() -> None:
    # The component may have one of the files that were there.
    assert pattern_metadata("f", "/p/f.", ".exr", 4) == {}
    assert pattern_metadata("f", "/p/f.", ".exr", 4, always=True) == {PATTERN: "f.%04d.exr"}
    assert pattern_metadata("f", "/p/f.exr", always=True) == {PATTERN: "f.exr"}
