"""Whether a service that fails for the only upload there is answers anything else."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.stage.control import answers_control
from tasks.transfer.errors import (
    InterceptedError,
    OwnSettingsError,
    ServiceUnavailableError,
)
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.put import store_session
from tests.unit.odd_server import OddServer, http

ROW = http("200 OK", b'[{"action": "query", "data": []}]')
REFUSAL = http("200 OK", b'{"exception": "ParseError", "content": "no"}')
#: What a control call gets, and whether the service is up then.
ANSWERS = [
    ("ftrack", ROW, True),
    ("ftrack", REFUSAL, True),
    ("ftrack", http("500 Oops"), False),
    ("ftrack", http("403 Forbidden", b"<html>"), False),
    ("store", http("403 Forbidden", b"<Code>AccessDenied</Code>"), True),
    ("store", http("503 Slow Down"), False),
    ("store", None, False),
]


@pytest.fixture
def clients(odd: OddServer) -> Iterator[Any]:
    with store_session(1) as store:
        store.merge_environment_settings(f"{odd.url}/key", {}, True, None, None)  # as each PUT does
        yield SimpleNamespace(store=store, ftrack=FtrackClient(odd.url, "farm", "key"))


@pytest.mark.parametrize(("service", "answer", "is_up"), ANSWERS)
def test_a_control_call_tells_whether_a_service_is_up(
    clients: Any, odd: OddServer, service: str, answer: bytes | None, is_up: bool
) -> None:
    odd.answers = [answer]

    assert answers_control(clients, service, [ServiceUnavailableError(service, "500")]) is is_up
    assert len(odd.requests) == 1


@pytest.mark.parametrize(
    "error",
    [
        ServiceUnavailableError("ftrack", "500"),
        InterceptedError("store", "403"),
        OwnSettingsError("node7", "store", "https://a", "no_name", ""),
        "no error",
    ],
)
def test_no_control_call_is_made_for_what_is_no_outage(
    clients: Any, odd: OddServer, error: object
) -> None:
    assert not answers_control(clients, "store", [error])
    assert odd.requests == []


def test_a_store_that_was_never_called_is_not_asked() -> None:
    with store_session(1) as store:
        clients: Any = SimpleNamespace(store=store)
        assert not answers_control(clients, "store", [ServiceUnavailableError("store", "reset")])
