"""Log events: constant names, fields for programs, and a line for people."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from tasks.log import log
from workers.logs import JsonFormatter


def as_json(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = json.loads(JsonFormatter("w1@node7").format(record))
    return fields


def test_people_read_the_name_then_the_fields_then_the_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log.warning("upload_retrying", upload_id="5d27", tries=2, text="100% of 5 = no %s")

    assert caplog.messages == ["upload_retrying upload_id=5d27 tries=2 100% of 5 = no %s"]


def test_programs_read_fields_that_nothing_parses(caplog: pytest.LogCaptureFixture) -> None:
    log.warning("spool_unreadable", path=Path("/mnt/a b=c"), uploads=2, text="event_like key=value")

    [record] = caplog.records
    fields = as_json(record)
    assert fields["event"] == "spool_unreadable"
    assert fields["path"] == "/mnt/a b=c"
    assert fields["uploads"] == 2
    assert fields["text"] == "event_like key=value"
    assert (fields["level"], fields["logger"]) == ("warning", "farmhaul")
    assert fields["worker"] == "w1@node7"


def test_an_event_without_text_has_no_text(caplog: pytest.LogCaptureFixture) -> None:
    log.warning("events_away")

    assert caplog.messages == ["events_away"]
    assert "text" not in as_json(caplog.records[0])


def test_an_exception_is_a_field_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ZeroDivisionError("by nought")
    except ZeroDivisionError:
        log.exception("unexpected_error", step="Counting")

    fields = as_json(caplog.records[0])
    assert (fields["event"], fields["step"]) == ("unexpected_error", "Counting")
    assert "ZeroDivisionError: by nought" in str(fields["exception"])


def test_lines_of_other_libraries_are_events_named_log() -> None:
    record = logging.LogRecord("urllib3", logging.WARNING, "", 0, "retry %s", ("now",), None)
    record.__dict__.update(event="theirs", fields=5)

    fields = as_json(record)

    assert (fields["event"], fields["text"]) == ("log", "retry now")
