"""Records what this version writes: python -m tests.compat VERSION.

Writes ``tests/compat/VERSION/plain.json`` and ``sealed.json``: the keys in Redis after some
uploads were enqueued and one has gone through two stages, a stage's message, spooled uploads.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.sandbox.redis_server import RedisServer

#: For the samples alone.
KEY = "c2FtcGxlcyBvZiBhIHJlbGVhc2VkIHZlcnNpb24hISE="
VERSION_ID = "ee8bf9bc-7dd1-5028-b334-29d83f984633"
FTRACK = ("https://studio.ftrackapp.com", "a-user", "an-api-key")


def dump(client: Any) -> dict[str, Any]:
    """Give each key with its value, in the form that ``load`` takes."""
    readers = {
        "hash": client.hgetall,
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        "list": lambda key: client.lrange(key, 0, -1),
        "set": lambda key: sorted(client.smembers(key)),
        "string": client.get,
    }
    return {key: (kind := client.type(key), readers[kind](key)) for key in sorted(client.keys())}


def load(client: Any, keys: dict[str, Any]) -> None:
    """Write keys as ``dump`` has given them."""
    for key, (kind, value) in keys.items():
        if kind == "hash":
            client.hset(key, mapping=value)
        elif kind == "zset":
            client.zadd(key, dict(value))
        elif kind == "list":
            client.rpush(key, *value)
        elif kind == "set":
            client.sadd(key, *value)
        else:
            client.set(key, value)


def record(folder: Path, url: str, key: str) -> dict[str, Any]:
    """Do what hooks and workers do, and give what is there then."""
    os.environ.update(FARMHAUL_REDIS_URL=url, FARMHAUL_SECRET_KEY=key)
    os.environ |= dict(
        zip(("FTRACK_SERVER", "FTRACK_API_USER", "FTRACK_API_KEY"), FTRACK, strict=True)
    )
    from tasks.chain import enqueue
    from tasks.config.redis_client import worker_redis
    from tasks.config.sealing import url_codec
    from tasks.config.settings import Settings
    from tasks.intake.request import UploadRequest
    from tasks.records.delivery import Settlement
    from tasks.records.record import open_record
    from tasks.spool import Spool
    from tasks.stage.message import to_message
    from tasks.transfer.models import FileIdentity, SignedPut, Target
    from workers.app import app

    settings = Settings.from_environment()
    client: Any = worker_redis(settings)
    uploads = open_record(settings, client)
    component = Target("3a7f0ed1-58b2-4f0e-9b0a-6d9a4d6f0b11")
    version = Target.under_version(VERSION_ID, "main", thumbnail=True, encode=True)
    begun = UploadRequest("/mnt/compat/begun.exr", component, 6, 1_000)
    enqueue(app, uploads, [begun])
    [transfer] = uploads.deliver("a-claim", "compute_checksum", "w1").transfers
    known = replace(
        transfer, identity=FileIdentity(6, 1_000, 2, 3), checksum="rL0Y20zC+Fzt72VPzMSk2A=="
    )
    file: dict[str, str | int] = {"file": uploads.seal_file(known), "size": 6, "stored": ""}
    uploads.settle([Settlement(known, "advanced", file)])
    signed = replace(known, signed=SignedPut("https://store/key?signature", {"Content-MD5": "x"}))
    enqueue(
        app,
        uploads,
        [
            UploadRequest("/mnt/compat/made.mov", version, 7, 1_000, "urgent"),
            UploadRequest("/mnt/compat/unseen.exr", replace(component, component_id=VERSION_ID)),
        ],
    )
    Spool(str(folder)).write([replace(begun, path="/mnt/compat/spooled.exr", allow_empty=True)])
    decoded: Any = worker_redis(settings).__class__.from_url(url, decode_responses=True)
    return {
        "keys": dump(decoded),
        "message": to_message("a-claim", [signed], url_codec(settings)),
        "spool": {path.name: path.read_text() for path in folder.glob("*.json")},
    }


def main(version: str) -> None:
    """Record both samples; each in a process of its own, as the environment is read once."""
    target = Path(__file__).parent / version
    target.mkdir(exist_ok=True)
    for name, key in (("plain", ""), ("sealed", KEY)):
        child = os.fork()
        if child == 0:
            with tempfile.TemporaryDirectory() as folder:
                server = RedisServer(Path(folder) / "redis")
                server.start()
                try:
                    sample = record(Path(folder) / "spool", server.url, key)
                    text = json.dumps(sample, indent=1, ensure_ascii=True) + "\n"
                    (target / f"{name}.json").write_text(text, encoding="utf-8")
                finally:
                    server.stop()
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            raise SystemExit(f"the samples {name} were not recorded")


if __name__ == "__main__":
    main(sys.argv[1])
