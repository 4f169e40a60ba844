"""farmhaul fetch on a mount that does not answer ends with a line that names it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tasks.config.settings import FtrackSettings, Settings
from tasks.intake.errors import BadInputError
from tasks.stage import threads
from tasks.transfer.get import Fetched
from tasks.transfer.lookup import ComponentFile
from workers.cli import fetch_here as module
from workers.cli.fetch import _enqueue

SETTINGS = Settings(
    "redis://127.0.0.1:1/0", ftrack=FtrackSettings("https://studio.example", "user", "key")
)


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What hangs until this is set; it takes short limits to notice that."""
    monkeypatch.setattr(threads, "POLL_S", 0.02)
    monkeypatch.setattr(threads, "WRAP_UP_S", 0.1)
    monkeypatch.setattr(threads, "LAST_S", 0.1)
    monkeypatch.setattr(module, "STALLED_S", 0.3)
    ended = threading.Event()
    yield ended
    ended.set()


def test_a_folder_that_does_not_open_is_named(
    hang: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FOLDER_S", 0.1)
    monkeypatch.setattr(module, "open_folder", lambda _path: hang.wait(30))

    with pytest.raises(BadInputError, match="--to /mnt/gone does not answer"):
        module.fetch_here(SETTINGS, ["an-id"], "/mnt/gone", human=False)


def test_a_folder_of_a_worker_that_hangs_here_is_named(
    hang: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.transfer.hanging.HUNG_S", 0.1)
    monkeypatch.setattr("tasks.transfer.hanging.POLL_S", 0.1)
    monkeypatch.setattr(import_module("workers.cli.fetch"), "check_roots", lambda *_: hang.wait(3))

    with pytest.raises(BadInputError, match="--to /mnt/gone does not answer here"):
        _enqueue(SETTINGS, ["an-id"], "/mnt/gone", human=False)


def test_a_file_that_hangs_is_named_and_the_others_arrive(
    hang: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [ComponentFile(f"component-{name}", name) for name in ("good", "hung")]

    def get_file(file: ComponentFile, *_: Any, **_named: Any) -> Fetched:
        if file.name == "hung":
            hang.wait(30)
        return Fetched("fetched", 6)

    monkeypatch.setattr(module, "_files", lambda *_: files)
    monkeypatch.setattr(module, "get_file", get_file)

    assert not module.fetch_here(SETTINGS, ["an-id"], str(tmp_path), human=False)

    out, err = capsys.readouterr()
    assert [line.split('"state": ')[1] for line in out.splitlines()] == ['"fetched"}', '"failed"}']
    assert f"{tmp_path}/hung: writing to {tmp_path} hangs: nothing has moved" in err
