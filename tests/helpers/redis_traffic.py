"""What goes through a Redis and what it holds, as text: tests look for secrets in it."""

from __future__ import annotations

import base64
import binascii
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis


class Wire:
    """All that went through a Redis, as text, and what of it was packed in base64."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @property
    def text(self) -> str:
        said = "\n".join(self.lines)
        packed = set(re.findall(r"[A-Za-z0-9+/]{24,}={0,2}", said))
        return "\n".join([said, *filter(None, map(_unpacked, packed))])


def _unpacked(text: str) -> str:
    # Message bodies are base64 inside of JSON.
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


@contextmanager
def everything_said_to(server: Any) -> Iterator[Wire]:
    """Collect every command and value: records, messages, events, results."""
    wire = Wire()
    listening = threading.Event()
    the_end = f"the end {uuid.uuid4()}"

    def listen() -> None:
        # Without a timeout: a farm may say nothing for seconds.
        known = server.get_connection_kwargs()
        unhurried: Any = redis.Redis(
            **{name: known.get(name) for name in ("host", "port", "username", "password")},
            decode_responses=True,
            socket_timeout=None,
        )
        with unhurried, unhurried.monitor() as monitor:
            listening.set()
            for entry in monitor.listen():
                wire.lines.append(entry["command"])
                if the_end in entry["command"]:
                    break

    thread = threading.Thread(target=listen)
    thread.start()
    listening.wait(10)
    try:
        yield wire
    finally:
        server.echo(the_end)
        thread.join(10)


def values_of(server: Any) -> str:
    """All that Redis holds now, as text."""
    read = {
        "string": server.get,
        "hash": server.hgetall,
        "set": server.smembers,
        "zset": lambda key: server.zrange(key, 0, -1, withscores=True),
        "list": lambda key: server.lrange(key, 0, -1),
    }
    held = []
    for key in server.scan_iter("*"):
        with suppress(redis.ResponseError):  # it went meanwhile
            kind = server.type(key)
            held.append(f"{key} {read[kind](key) if kind in read else ''}")
    return "\n".join(held)


def commands_done(client: Any) -> int:
    """Return how many commands this Redis has executed since it started."""
    return sum(int(stats["calls"]) for stats in client.info("commandstats").values())
