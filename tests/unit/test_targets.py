"""Targets and their ids, and the named tuples that they are."""

from __future__ import annotations

import pickle
import typing
import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.transfer.named_tuple import NamedTuple
from tasks.transfer.targets import NAMESPACE, Target, derived_id

VERSION = "9f1d4c1e-7a3b-4a55-8a5e-0c9b6a1f2e3d"


class Point(NamedTuple):
    """A place."""

    x: int
    y: int = 7

    @property
    def total(self) -> int:
        return self.x + self.y

    @classmethod
    def origin(cls) -> Point:
        return cls(0, 0)

    def __str__(self) -> str:
        return f"at {self.x}"


class Standard(typing.NamedTuple):
    x: int
    y: int = 7


class Named(Point):
    """A class below a named tuple."""


def test_the_same_values_have_the_same_id_and_others_another() -> None:
    assert derived_id("a", 1) == derived_id("a", 1)
    assert (
        len({derived_id("a", 1), derived_id("a", 2), derived_id("a1"), derived_id("", "a1")}) == 4
    )
    # A release that changes it would make a second entity of each upload that is under way.
    assert derived_id("component", "v", "n") == "947bc0f3-81aa-58f0-bf93-00ca140d956e"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.integers() | st.none()))
@example(["component", "ünï 🎬", None])
def test_an_id_is_the_uuid5_of_the_standard_library(values: list[object]) -> None:
    name = "\0".join(str(value) for value in values)

    assert derived_id(*values) == str(uuid.uuid5(uuid.UUID(NAMESPACE), name))


def test_the_id_of_a_versions_component_follows_from_its_name() -> None:
    main, beauty = (Target.under_version(VERSION, name) for name in ("main", "beauty"))

    assert main == Target.under_version(VERSION, "main")
    assert uuid.UUID(main.component_id) != uuid.UUID(beauty.component_id)


# Named tuples


def test_a_named_tuple_has_its_fields_defaults_and_methods() -> None:
    point = Point(1)

    assert (point.x, point.y, point.total, str(point)) == (1, 7, 8, "at 1")
    assert (repr(point), Point.__doc__) == ("Point(x=1, y=7)", "A place.")
    assert point._replace(y=2) == (1, 2)
    assert point._asdict() == {"x": 1, "y": 7}
    assert Point.origin() == Point(y=0, x=0)
    assert pickle.loads(pickle.dumps(point)) == point


def test_a_named_tuple_refuses_what_is_no_field_of_it() -> None:
    values = {"x": 1, "z": 2}
    with pytest.raises(TypeError, match="'z'"):
        Point(**values)
    del values["x"], values["z"]
    with pytest.raises(TypeError, match="'x'"):
        Point(**values)


@given(st.lists(st.integers(), max_size=4), st.dictionaries(st.sampled_from("xyz"), st.integers()))
def test_a_named_tuple_is_made_as_the_standard_library_makes_it(
    values: list[int], named: dict[str, int]
) -> None:
    made: list[object] = []
    for kind in (Standard, Point):
        try:
            made.append(kind(*values, **named))
        except TypeError:
            made.append("refused")

    assert made[0] == made[1]
    assert hash(made[0]) == hash(made[1])


def test_a_named_tuple_is_unpacked_matched_and_has_no_room_for_more() -> None:
    x, y = Point(1)
    match Point(1):
        case Point(first, second):
            assert (first, second) == (x, y) == (1, 7)
    with pytest.raises(AttributeError):
        object.__setattr__(Point(1), "z", 2)
    with pytest.raises(TypeError, match="'z'"):
        Point(1)._replace(z=2)  # type: ignore[call-arg]


def test_a_class_below_a_named_tuple_stays_itself() -> None:
    assert repr(Named(1)._replace(x=2)) == "Named(x=2, y=7)"
