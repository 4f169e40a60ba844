"""What the unit tests share: files in a storage root, and a server for odd answers."""

from __future__ import annotations

import base64
import hashlib
import math
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.transfer.checksum import compute_checksum
from tasks.transfer.models import SignedPut, Transfer
from tasks.transfer.targets import Target
from tests.sandbox import RedisServer
from tests.unit.odd_server import OddServer
from tests.unit.records import Farm
from workers.steps import pulse

Frame = Callable[..., Transfer]


def new_id() -> str:
    return str(uuid.uuid4())


def digest_of(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


@pytest.fixture(autouse=True)
def no_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Redis have said nothing yet: other tests share this process."""
    silent = pulse.Pulse(
        -math.inf, is_new=False, is_aside=False, has_unread=True, reconciler="", held_s=0
    )
    monkeypatch.setattr(pulse, "_latest", silent)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that uploads may come from."""
    folder = tmp_path / "storage"
    folder.mkdir()
    return folder.resolve()


@pytest.fixture
def roots(root: Path) -> tuple[str, ...]:
    return (str(root),)


@pytest.fixture
def frame(root: Path, roots: tuple[str, ...]) -> Frame:
    """Makes a file and its transfer; checked, and signed when a URL is given."""

    def make(
        content: bytes = b"pixels",
        name: str = "main.0101.exr",
        url: str = "",
        headers: dict[str, str] | None = None,
        target: Target | None = None,
    ) -> Transfer:
        path = root / name
        path.write_bytes(content)
        transfer = Transfer(
            new_id(), target or Target(new_id()), str(path), allow_empty=not content
        )
        transfer = compute_checksum(transfer, roots)
        if not url:
            return transfer
        return signed(transfer, url, {} if headers is None else headers)

    return make


def signed(transfer: Transfer, url: str, headers: dict[str, str]) -> Transfer:
    return replace(transfer, signed=SignedPut(url, headers))


@pytest.fixture
def odd() -> Iterator[OddServer]:
    """A server that says what no sane one would."""
    with OddServer() as server:
        yield server


@pytest.fixture
def farm(redis_server: RedisServer) -> Iterator[Farm]:
    """The records of a farm that has none yet."""
    with redis_server.client() as client:
        yield Farm(client)
