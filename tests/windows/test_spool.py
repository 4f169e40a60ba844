"""The spool on Windows, by its parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.windows.python import WindowsPython, windows_path

pytestmark = [pytest.mark.windows, pytest.mark.timeout(900)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A spool whose path has a space and a letter that no code page shares."""
    spool = tmp_path / "spool of größe 映"
    spool.mkdir()
    return spool


def inside(windows: WindowsPython, step: str, folder: Path) -> Any:
    return json.loads(windows.run_module("inside_spool", step, windows_path(folder)))


def test_requests_are_kept_byte_for_byte_until_they_are_sent(
    windows: WindowsPython, folder: Path
) -> None:
    said = inside(windows, "kept", folder)
    assert said == {"before": [], "same": [True, True], "as settled": True}
    [body] = folder.glob("*.json")
    assert body.read_bytes().endswith(b"second line\r\n")

    assert inside(windows, "sent", folder) == [0, 2]
    assert not list(folder.glob("*.json"))


def test_a_file_that_a_scanner_holds_open_is_replaced_in_the_end(
    windows: WindowsPython, folder: Path
) -> None:
    assert inside(windows, "moved_over_an_open_file", folder) == "new"


def test_one_process_at_a_time_sends_the_spool(windows: WindowsPython, folder: Path) -> None:
    assert inside(windows, "locked", folder) == [True, True]
