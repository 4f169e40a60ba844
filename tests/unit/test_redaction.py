"""No secret in what a task raises or a worker logs, whatever an error contains."""

from __future__ import annotations

import json
import logging
import traceback
from typing import Any

import pytest
import redis
from celery.exceptions import Ignore

from tasks.config.settings import FtrackSettings, Settings
from tasks.stage.redaction import RedactedTask
from tasks.transfer.errors import FileChangedError, UnexpectedAnswerError
from workers.logs import JsonFormatter, WithoutSecrets

API_KEY, SECRET_KEY, PASSWORD = 'the "key" of ftrack', "the key that seals=", "p%2Fassword"
URL = "https://store/bucket/key?X-Amz-Credential=us&X-Amz-Signature=s1gned"
SETTINGS = Settings(
    f"redis://:{PASSWORD}@localhost/0",
    secret_keys=(SECRET_KEY,),
    ftrack=FtrackSettings("https://studio.ftrackapp.com", "farm", API_KEY),
)


class Probe(RedactedTask):
    name = "farmhaul.probe"

    def run(self, error: Exception) -> None:
        raise error from OSError(URL)


def test_of_an_unexpected_error_a_task_raises_only_the_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(UnexpectedAnswerError, match="RuntimeError, see the log") as raised:
        Probe()(RuntimeError(URL))
    assert "s1gned" not in "".join(traceback.format_exception(raised.value))
    assert "unexpected_error stage=probe" in caplog.text
    assert "s1gned" in caplog.text


@pytest.mark.parametrize(
    "error", [FileChangedError("/mnt/1.exr", "mtime"), Ignore(), redis.ConnectionError("away")]
)
def test_expected_errors_are_raised_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        Probe()(error)
    assert raised.value is error


def line_of(text: str, *arguments: Any, inner: logging.Formatter, **more: Any) -> str:
    record = logging.LogRecord("farmhaul", logging.ERROR, "", 0, text, arguments, None)
    record.__dict__.update(more)
    return WithoutSecrets(inner, SETTINGS).format(record)


@pytest.mark.parametrize("inner", [logging.Formatter(), JsonFormatter("w1")], ids=["text", "json"])
@pytest.mark.parametrize(
    "text",
    [
        URL,
        f"GET {URL}, then {URL}",
        "Max retries exceeded with url: /bucket/key?X-Amz-Signature=s1gned (Caused by",
        "the query x-amz-signature=s1gned&x-amz-date=1",
        f"{{'url': '{URL}'}}",
        f'{{"url": "{URL}"}}',
        f"{API_KEY} {SECRET_KEY} redis://:{PASSWORD}@localhost/0 p/assword",
    ],
)
def test_no_line_of_a_log_shows_a_secret(text: str, inner: logging.Formatter) -> None:
    line = line_of("broken: %s", text, inner=inner)
    assert "***" in line
    for secret in ("s1gned", API_KEY, json.dumps(API_KEY)[1:-1], SECRET_KEY, PASSWORD, "p/assw"):
        assert secret not in line


def test_a_traceback_in_json_shows_no_secret() -> None:
    try:
        Probe().run(RuntimeError(f"no '{URL}' \\ {API_KEY}"))
    except RuntimeError as error:
        exc_info = (type(error), error, error.__traceback__)
    line = line_of("unexpected_error", inner=JsonFormatter("w1"), exc_info=exc_info)
    shown = json.loads(line)["exception"]
    assert "RuntimeError: no 'https://store/bucket/key***' \\ ***" in shown
    assert "s1gned" not in shown


def test_lines_without_secrets_are_left_alone() -> None:
    text = "is FARMHAUL_SECRET_KEY the same? what=that /mnt/a?.exr (50%)"
    assert line_of("%s", text, inner=logging.Formatter()) == text
