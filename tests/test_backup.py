"""A snapshot of Redis is restored as docs/operations.md says, and the append-only file with it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.sandbox.redis_server import RedisServer


def test_a_snapshot_is_restored_and_written_on(tmp_path: Path) -> None:
    lost = RedisServer(tmp_path / "lost")
    lost.start()
    with lost.client() as client:
        client.set("farmhaul:an-upload", "pending")
        client.save()  # what redis-cli --rdb fetches
    lost.kill()
    new = RedisServer(tmp_path / "new", extra=["appendonly no"])
    shutil.copy(tmp_path / "lost" / "dump.rdb", tmp_path / "new" / "dump.rdb")

    new.start()
    with new.client() as client:
        client.config_set("appendonly", "yes")
        client.set("farmhaul:a-later-one", "pending")
    new.stop()
    (tmp_path / "new" / "dump.rdb").unlink()
    again = RedisServer(tmp_path / "new")

    again.start()
    with again.client() as client:
        assert sorted(client.keys()) == ["farmhaul:a-later-one", "farmhaul:an-upload"]
    again.stop()


def test_an_append_only_file_takes_precedence_over_a_snapshot(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "server")
    server.start()
    with server.client() as client:
        client.set("farmhaul:an-upload", "pending")
        client.save()
    server.stop()
    shutil.rmtree(tmp_path / "server" / "appendonlydir")

    server.start()
    with server.client() as client:
        assert client.keys() == []
    server.stop()
