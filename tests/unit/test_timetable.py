"""Rates and timetables as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.timetable import NO_LIMIT, Timetable, rate_text, zone_named


def at(text: str, hour: int, minute: int = 0) -> float | None:
    return Timetable.from_text(text).at(datetime(2026, 11, 24, hour, minute).astimezone())


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("50M", 50e6),
        ("1.5G", 1.5e9),
        ("800k", 800e3),
        ("20", 20.0),
        ("off", None),
        (" 5M ", 5e6),
        ("50MB", 50e6),
        ("800kB/s", 800e3),
        ("20B/s", 20.0),
    ],
)
def test_a_rate_holds_all_day(text: str, rate: float | None) -> None:
    assert at(text, 3) == rate
    assert at(text, 15) == rate


def test_a_timetable_gives_each_hour_its_rate() -> None:
    table = "08:00-20:00=50M,20:00-22:30=80M,else=off"
    assert [at(table, 7, 59), at(table, 8), at(table, 20), at(table, 22, 30)] == [
        None,
        50e6,
        80e6,
        None,
    ]


def test_a_span_may_go_over_midnight() -> None:
    table = "20:00-08:00=off,else=50M"
    assert [at(table, 23), at(table, 7), at(table, 8)] == [None, None, 50e6]


def test_without_else_the_other_hours_have_no_limit() -> None:
    assert at("08:00-20:00=50M", 21) is None
    assert NO_LIMIT.at(datetime(2026, 1, 1).astimezone()) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fast",
        "0",
        "-5M",
        "5Mb",
        "5M/s",
        "50T",
        "\u0665M",
        "25:00-26:00=5M",
        "\u06608:00-20:00=5M",
        "8-20=5M",
        "08:00-20:00=",
        "else=x",
    ],
)
def test_a_text_that_is_not_a_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write 50M, off, or 08:00-20:00=50M,else=off"):
        Timetable.from_text(text)


@given(st.text())
def test_any_text_is_a_rate_or_a_value_error(text: str) -> None:
    try:
        rate = Timetable.from_text(text).at(datetime(2026, 1, 1).astimezone())
    except ValueError:
        return
    assert rate is None or rate > 0


@pytest.mark.parametrize(
    ("text", "rate"),
    [("1k", 1e3), ("9" * 12, 999_999_999_999.0), ("0.001", 0.001), ("1.5M", 1.5e6)],
)
def test_a_rate_at_its_limits_is_read(text: str, rate: float) -> None:
    assert at(text, 12) == rate


@pytest.mark.parametrize("text", ["9" * 13, "0.0001", "24:00-01:00=5M", "08:60-09:00=5M", "0.000"])
def test_a_rate_beyond_its_limits_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write 50M"):
        Timetable.from_text(text)


def test_a_span_with_equal_ends_is_refused() -> None:
    with pytest.raises(ValueError, match="'08:00-08:00' begins and ends at the same time; write"):
        Timetable.from_text("08:00-08:00=5M,else=off")


def test_a_span_may_have_the_first_and_the_last_minute() -> None:
    table = "00:00-23:59=5M,else=off"
    assert [at(table, 0), at(table, 23, 58), at(table, 23, 59)] == [5e6, 5e6, None]


@pytest.mark.parametrize("text", ["off", "50M", "1.5G", "800k", "20", "0.5"])
def test_a_rate_is_shown_as_it_is_written(text: str) -> None:
    shown = rate_text(at(text, 12))

    assert at(shown, 12) == at(text, 12)
    assert shown == text


@pytest.mark.parametrize(
    "name", ["Europe/Atlantis", "Europe", "localtime", "../etc/passwd", "+2", "", "a\0"]
)
def test_a_zone_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone here; write Europe/Berlin, or UTC"):
        zone_named(name)


@pytest.mark.parametrize(
    ("text", "hour", "entry", "until"),
    [
        ("50M", 12, "50M", None),
        ("off", 12, "off", None),
        ("08:00-20:00=50M,else=off", 12, "08:00-20:00=50M", 20),
        ("08:00-20:00=50M,else=off", 21, "else=off", 8),
        ("20:00-08:00=50M,else=off", 23, "20:00-08:00=50M", 8),
        ("20:00-08:00=50M,else=off", 3, "20:00-08:00=50M", 8),
        ("09:00-10:00=1M,08:00-20:00=2M", 8, "08:00-20:00=2M", 9),
        ("08:00-20:00=2M,09:00-10:00=1M", 8, "08:00-20:00=2M", 20),
    ],
)
def test_the_entry_that_counts_ends_when_another_one_counts(
    text: str, hour: int, entry: str, until: int | None
) -> None:
    moment = datetime(2026, 11, 26, hour, 30, tzinfo=UTC)
    shown, ends = Timetable.from_text(text).entry_at(moment)
    assert (shown, ends and ends.hour) == (entry, until)
