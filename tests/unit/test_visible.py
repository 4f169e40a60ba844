"""No control character of a name, a server or another host reaches a terminal or a log raw."""

from __future__ import annotations

import ast
import io
import logging
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from hypothesis import given, settings, strategies

from tasks.config.remedies import explained
from tasks.config.settings import Settings
from tasks.config.texts import visible
from tasks.intake.answer import upload_line
from tasks.intake.errors import printable, quoted
from tasks.intake.exit_codes import say
from tasks.intake.request import UploadRequest
from tasks.log import log
from tasks.records.upload_state import UploadState
from tasks.stage.message import summary
from tasks.transfer.allowed import check_roots
from tasks.transfer.errors import FileRefusedError, RequestRefusedError, UploadsFailedError
from tasks.transfer.http import one_line
from tasks.transfer.models import FileIdentity, Transfer
from tasks.transfer.targets import Target
from workers import cli
from workers.cli.found import failures, lines_of
from workers.cli.output import state_line
from workers.doctor.finding import Finding
from workers.logs import WithoutSecrets

SOURCE = Path(visible.__code__.co_filename).parents[2]
ID = "2c5e8f9a-1b34-4d6e-8f70-a1b2c3d4e5f6"
ODD = "a\x1b[2J\nfarmhaul: well\x9b\u202e\udcff.exr"
SHOWN = "a\\x1b[2J\\nfarmhaul: well\\x9b\\u202e\\udcff.exr"


def test_what_does_not_print_is_escaped_and_the_rest_stays() -> None:
    assert visible(ODD) == SHOWN
    assert visible("größe 映 €.exr") == "größe 映 €.exr"
    assert visible("\ud800") == "\\ud800"


def test_a_command_shows_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    say("no such file: \x1b]0;title\x07.exr")

    assert capsys.readouterr().err == "farmhaul: no such file: \\x1b]0;title\\x07.exr\n"
    request = UploadRequest("/mnt/\x1b[2J\u202e.exr", Target(ID))
    assert upload_line(request, "queued", human=True).endswith("/mnt/\\x1b[2J\\u202e.exr")


def test_status_and_doctor_show_no_control_characters() -> None:
    upload = UploadState(
        ID, ID, ODD, "active", "put_file", 1, 0, f"w1@{ODD}", ODD, ODD, 0.0, 0.0, None, 0
    )
    failed = replace(upload, state="failed")
    row, why, _ = lines_of(failed, 0.0, 200)
    for line in (state_line(upload, human=True), *failures([failed], lambda _: [row, why], 1)):
        assert line.isprintable()
        assert SHOWN in line
    finding = Finding("fault", "roots", ODD, ODD).line(human=True)
    assert [line.count(SHOWN) for line in finding.split("\n")] == [1, 1]


def test_an_error_is_one_line_whatever_a_server_or_a_symlink_says() -> None:
    refusal = explained(RequestRefusedError(ID, "create", "no\x1b[2J"))
    assert "no\\x1b[2J" in refusal
    with pytest.raises(FileRefusedError) as leads_out:
        check_roots("/mnt/a", f"/etc/{ODD}", ["/mnt"])
    assert f"leads to /etc/{SHOWN}, which" in explained(leads_out.value)
    assert explained(UploadsFailedError("one\ntwo\x1b")) == "one\ntwo\\x1b"


def test_flower_shows_no_control_characters() -> None:
    transfer = Transfer(ID, Target(ID), f"/mnt/{ODD}", identity=FileIdentity(1, 2, 3, 4))

    assert summary([transfer]) == f"{SHOWN}, 1 B"


def test_a_line_of_a_log_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    log.warning("upload_failed", worker=ODD, text=ODD)

    assert caplog.messages == [f"upload_failed worker={SHOWN} {SHOWN}"]
    [record] = caplog.records
    assert vars(record)["text"] == ODD  # JSON escapes it


def test_lines_of_libraries_have_no_control_characters() -> None:
    formatter = WithoutSecrets(
        logging.Formatter("\x1b[1;31m%(message)s\x1b[0m"), Settings("redis://localhost")
    )
    record = logging.LogRecord("kombu", 30, "", 0, "odd: %s\n\tnext line", ("\x1b]0;x\x07",), None)

    line = formatter.format(record)

    assert line == "\x1b[1;31modd: \\x1b]0;x\\x07\n\tnext line\x1b[0m"


@pytest.mark.parametrize("logger", ["celery.worker", "kombu", "kombu.transport.redis"])
def test_what_a_library_quotes_begins_no_line(logger: str) -> None:
    formatter = WithoutSecrets(logging.Formatter("%(message)s"), Settings("redis://localhost"))
    odd = "x\r\n[2026-11-26 12:00:00] ERROR upload_failed\x1b[2K"
    for value in (odd, redis.ResponseError(odd)):
        record = logging.LogRecord(logger, 30, "", 0, "odd: %s", (value,), None)
        assert len(formatter.format(record).splitlines()) == 1


#: What a file system, a server or another host may give: any text, with what terminals obey.
TEXTS = strategies.text(
    # Of the surrogates, a path has only those that stand for a byte that is not UTF-8.
    strategies.characters(exclude_categories=["Cs"])
    | strategies.sampled_from("\x1b\x07\n\r\t\0\x7f\x9b\u202e\u2066\u200f\udc80")
)


@given(text=TEXTS)
@settings(max_examples=60, deadline=None)
def test_whatever_a_name_holds_each_line_for_people_prints(text: str) -> None:
    values = (ID, ID, text, "active", "put_file", 1, 0, text, text, text, 0.0, 0.0, None, 0)
    upload = UploadState(*values)
    failed = replace(upload, state="failed")
    path = f"/mnt/{text}".replace("\udc80", "")  # no request has a path that is not UTF-8
    shown = [
        visible(text),
        printable(text),
        quoted(text),
        one_line(text),
        state_line(upload, human=True),
        *failures([failed], lambda one: lines_of(one, 0.0, 200), 1),
        *Finding("fault", "roots", text, text).line(human=True).split("\n"),
        *explained(RequestRefusedError(ID, "create", text)).split("\n"),
        summary([Transfer(ID, Target(ID), f"/mnt/{text}", identity=FileIdentity(1, 2, 3, 4))]),
        upload_line(UploadRequest(path, Target(ID)), "queued", human=True),
        log.process(text, {"path": text, "text": text})[0],
    ]
    assert [line for line in shown if not line.isprintable()] == []
    # Escaped, not dropped: two names stay two.
    assert (visible(text) == text) is text.isprintable()


def test_a_command_prints_by_the_functions_that_escape() -> None:
    raw = {
        path.name
        for path in [
            *(SOURCE / "workers/cli").glob("*.py"),
            *(SOURCE / "workers/doctor").glob("*.py"),
        ]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "click.echo"}
    }
    assert raw == {"output.py"}


def test_a_program_may_catch_what_a_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    caught = io.StringIO()  # its encoding is None
    monkeypatch.setattr(sys, "stdout", caught)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    assert "enqueue" in caught.getvalue()


@pytest.mark.parametrize(
    ("encoding", "errors"),
    [("utf8", "strict"), ("UTF_8", "strict"), ("ascii", "backslashreplace")],
)
def test_only_a_stream_that_lacks_letters_escapes_them(
    monkeypatch: pytest.MonkeyPatch, encoding: str, errors: str
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    assert stream.errors == errors
