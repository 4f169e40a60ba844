"""How often ``farmhaul fetch`` tries, and what it says when it gives up."""

from __future__ import annotations

from threading import Event

import pytest

from tasks.stage.tries import tried
from tasks.transfer.errors import FatalError, OwnSettingsError, ServiceUnavailableError

OWN = OwnSettingsError("node7", "store", "https://media.studio", "no_name", "Name not known")


def test_a_fault_of_this_node_is_raised_as_it_is_after_the_tries() -> None:
    stopped = Event()
    stopped.set()

    def fail() -> None:
        raise OWN

    with pytest.raises(OwnSettingsError) as raised:
        tried(fail, stopped)
    assert raised.value is OWN  # its remedy names a variable


def test_an_outage_ends_with_advice_to_come_back_later() -> None:
    stopped = Event()
    stopped.set()

    def fail() -> None:
        raise ServiceUnavailableError("store", "503")

    with pytest.raises(FatalError, match="gave up after 1 tries, so run the command again later"):
        tried(fail, stopped)


def test_who_waits_for_an_outage_is_told_once_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.stage.tries._wait", lambda *_: None)
    answers = iter([ServiceUnavailableError("ftrack", "503")] * 3)
    told: list[str] = []

    def ask() -> str:
        for error in answers:
            raise error
        return "an answer"

    assert tried(ask, Event(), told.append) == "an answer"
    assert told == ["waiting for ftrack: 503; trying again"]
