"""What Farm says of refused requests, and a watch of what has failed, below its table."""

from __future__ import annotations

import html
import re

import pytest
from flower import urls

from tasks.config.sealing import Codec
from tasks.records import refusals
from tasks.records.status import Status
from tasks.transfer.errors import FileRefusedError
from tests.unit.records import Farm, file_of
from workers.cli import watch
from workers.web import farm_text
from workers.web.access import Records
from workers.web.install import Templates
from workers.wording import span


def farm_page(farm: Farm) -> str:
    """Return the text of the part of the page Farm that lives."""
    records = Records()
    records.scripts = farm.record.scripts
    found = records.farm()
    page = Templates(str(urls.settings["template_path"])).load("farm_live.html")
    made = page.generate(
        farm=found,
        charts=farm_text.charts(found.history),
        held_back=farm_text.held_back_by(found),
        in_force=lambda *_: None,
        shown=20,
        rows=20,
        node_steps={},
        gate_steps={},
        kind_meanings={},
        span=span,
        visible=str,
        reverse_url=lambda *_: "",
    )
    return html.unescape(re.sub(r"<[^>]*>|\s+", " ", made.decode()))


def test_the_page_farm_lists_the_requests_that_were_refused(farm: Farm) -> None:
    title = "Requests of hooks that workers have refused"
    assert title not in farm_page(farm)

    refusals.note(farm.client, "request", "node<9>", "its signature does not fit", 3)
    refusals.note(farm.client, "message", "node8", "it is malformed")

    _, _, shown = farm_page(farm).partition(title)
    row = r"its signature does not fit +node<9>, last \d+ s ago +3 "
    assert re.search(row, shown), shown
    assert "node8" not in shown


def test_a_watch_ends_with_the_reasons_of_what_has_failed(
    farm: Farm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MOST_REASONS", 2)
    failed = farm.enqueue(*(file_of() for _ in range(3)))
    for transfer in farm.deliver():
        farm.fail(transfer, FileRefusedError(transfer.path, f"is no.\x1b file of {transfer.path}"))

    ended = watch._table(Status(farm.client, Codec([])), failed)

    assert [upload.upload_id for upload in ended] == failed
    lines = capsys.readouterr().err.splitlines()
    paths = [upload.path for upload in ended[:2]]
    assert len(lines) == 2
    for line, path in zip(lines, paths, strict=True):
        assert line.startswith(f"farmhaul: {path}: ")
        assert f"is no.\\x1b file of {path}" in line
