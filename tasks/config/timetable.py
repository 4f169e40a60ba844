"""Rates as people write them: ``50M``, ``off``, or by the time of day.

A timetable is ``08:00-20:00=50M,else=off``. A rate is in bytes per second for bandwidth, and in
calls per second for the API. ``50MB`` and ``50MB/s`` are ``50M``; ``50Mb``, which may be bits, is
refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, tzinfo
from zoneinfo import ZoneInfo

UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
RATE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?)([kMG]?)(?:B(?:/s)?)?")
CLOCK = r"((?:[01][0-9]|2[0-3]):[0-5][0-9])"
SPAN = re.compile(f"{CLOCK}-{CLOCK}")


@dataclass(frozen=True, slots=True)
class Timetable:
    """A rate for each time of the day, per second; None means no limit.

    ``spans`` are pairs of times with the rate from the first to just before the second; the first
    span that fits counts. The times are those of the farm's zone: see ``zone_named``.
    """

    spans: tuple[tuple[time, time, float | None], ...] = ()
    otherwise: float | None = None

    @classmethod
    def of_calls(cls, text: str) -> Timetable:
        """Read a rate or a timetable of calls, of which nobody wants millions a second."""
        return cls.from_text(text, "20")

    @classmethod
    def from_text(cls, text: str, example: str = "50M") -> Timetable:
        """Read a rate or a timetable.

        Raises:
            ValueError: the text is neither; the message says what to write.
        """
        try:
            return cls._read(text)
        except ValueError as error:
            step = f"write {example}, off, or 08:00-20:00={example},else=off"
            raise ValueError(f"{error}; {step}") from None

    @classmethod
    def _read(cls, text: str) -> Timetable:
        if "=" not in text:
            return cls(otherwise=_rate(text))
        spans = []
        otherwise = None
        for entry in text.split(","):
            when, _, rate = entry.strip().partition("=")
            if when == "else":
                otherwise = _rate(rate)
                continue
            match = SPAN.fullmatch(when)
            if match is None:
                raise ValueError(f"{when!r} is not a time span")
            if match[1] == match[2]:  # of no time, or of the whole day
                raise ValueError(f"{when!r} begins and ends at the same time")
            spans.append((time.fromisoformat(match[1]), time.fromisoformat(match[2]), _rate(rate)))
        return cls(tuple(spans), otherwise)

    def at(self, moment: datetime) -> float | None:
        """Return the rate at a moment, whose zone is that of the times.

        A span from 20:00 to 08:00 goes over midnight.
        """
        return self._rate_of(self._entry(moment.time()))

    def entry_at(self, moment: datetime) -> tuple[str, time | None]:
        """Return the entry that counts at a moment, as people write it, and when another one will.

        There is no such time if the same rate counts all day.
        """
        entry = self._entry(moment.time())
        text = rate_text(self._rate_of(entry))
        if entry is not None:
            begin, end, _ = self.spans[entry]
            text = f"{begin:%H:%M}-{end:%H:%M}={text}"
        elif self.spans:
            text = f"else={text}"
        borders = {border for begin, end, _ in self.spans for border in (begin, end)}
        # Those of tomorrow come last.
        for border in sorted(borders, key=lambda one: (one <= moment.time(), one)):
            if self._entry(border) != entry:
                return text, border
        return text, None

    def _entry(self, now: time) -> int | None:
        """Return the number of the first span that fits; None if none does."""
        for number, (begin, end, _) in enumerate(self.spans):
            inside = begin <= now < end if begin < end else now >= begin or now < end
            if inside:
                return number
        return None

    def _rate_of(self, entry: int | None) -> float | None:
        return self.otherwise if entry is None else self.spans[entry][2]


NO_LIMIT = Timetable()


def zone_named(name: str) -> tzinfo:
    """Return the time zone of a name such as Europe/Berlin.

    Raises:
        ValueError: this node knows no zone of that name.
    """
    if name == "UTC":  # also on a node without the package tzdata
        return UTC
    try:
        # By localtime, each node would mean its own zone; an empty name is none.
        return ZoneInfo(name if name != "localtime" else "")
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone here; write Europe/Berlin, or UTC") from None


def rate_text(rate: float | None) -> str:
    """Return a rate as people write it."""
    if rate is None:
        return "off"
    unit = next((unit for unit in "GMk" if rate >= UNITS[unit]), "")
    return f"{rate / UNITS[unit]:g}{unit}"


def _rate(text: str) -> float | None:
    if text.strip() == "off":
        return None
    match = RATE.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise ValueError(f"{text!r} is not a rate")
    return float(match[1]) * UNITS[match[2]]
