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
