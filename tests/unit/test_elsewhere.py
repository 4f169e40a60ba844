"""The key and the bytes go only where they should, and no file outside the roots is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.config.settings import FtrackSettings
from tasks.stage.events import Events
from tasks.transfer import files
from tasks.transfer.checksum import compute_checksum
from tasks.transfer.errors import FileRefusedError, ServiceUnavailableError
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.models import Transfer
from tasks.transfer.multipart import Part, put_part
from tasks.transfer.put import put_file, store_session
from tests.farm import wait_until
from tests.unit.conftest import Frame
from tests.unit.odd_server import OddServer, http

KEY = "an-api-key-s3cr3t"
REDIRECTS = ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]


@pytest.mark.parametrize("status", REDIRECTS)
def test_an_api_call_follows_no_redirect(odd: OddServer, status: str) -> None:
    with OddServer() as other:
        odd.answers = [http(status, headers={"Location": f"{other.url}/api"})]
        client = FtrackClient(odd.url, "farm", KEY)
        with client.session, pytest.raises(ServiceUnavailableError, match=status[:3]):
            client.call([{"action": "query"}])

        assert other.requests == []
    assert len(odd.requests) == 1


def test_the_event_hub_cannot_redirect_the_api_key(odd: OddServer) -> None:
    dropped: list[int] = []
    with OddServer() as other:
        odd.answers = [http("307 Temporary", headers={"Location": f"{other.url}/socket.io/1/"})]
        Events(FtrackSettings(odd.url, "farm", KEY), dropped.append).located(["c1"])
        wait_until(lambda: dropped)

        assert other.requests == []
    assert odd.requests[0].header(b"ftrack-api-key") == KEY.encode()


def _checksum(transfer: Transfer, _url: str, roots: tuple[str, ...]) -> None:
    compute_checksum(transfer, roots)


def _put(transfer: Transfer, _url: str, roots: tuple[str, ...]) -> None:
    with store_session(1) as session:
        put_file(transfer, session, roots)


def _part(transfer: Transfer, url: str, roots: tuple[str, ...]) -> None:
    with store_session(1) as session:
        put_part(transfer, Part(1, 0, 6), url, session, roots=roots)


@pytest.mark.parametrize("step", [_checksum, _put, _part])
def test_each_step_checks_the_place_of_the_file_it_has_opened(
    step: Callable[[Transfer, str, tuple[str, ...]], None],
    frame: Frame,
    odd: OddServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A symlink leads out of the roots while the file is opened, and is a file again after that."""
    transfer = frame(b"pixels", url=f"{odd.url}/key")
    path, secret = Path(transfer.path), tmp_path / "secret"
    kept = path.with_suffix(".kept")
    path.rename(kept)
    secret.write_bytes(b"secret")
    path.symlink_to(secret)

    def swap(*arguments: Any) -> int:
        opened = os.open(arguments[0], os.O_RDONLY)
        kept.replace(path)
        return opened

    monkeypatch.setattr(files, "_open_nonblocking", swap)

    with pytest.raises(FileRefusedError, match="outside the storage roots"):
        step(transfer, f"{odd.url}/part", (str(path.parent),))
    assert path.read_bytes() == b"pixels"
    assert odd.requests == []
