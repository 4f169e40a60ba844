"""Running the scripts in ``lua/``: each is one atomic move.

A script takes its arguments as one JSON object. Shared code is in ``lua/includes``. A line
``--- @include "NAME"`` stands for that file, joined into one line, so the line numbers in Redis'
errors are those of the script.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import redis

from tasks.config.sealing import Codec, index_keys, message_codec
from tasks.config.settings import Settings
from tasks.config.texts import visible
from tasks.log import log
from tasks.records import key_types, keys, nodes, states
from tasks.records.terms import Hasher

LUA = files("tasks.records") / "lua"
INCLUDE = re.compile(r'^--- @include "(\w+)"$', re.MULTILINE)


class Scripts:
    """Runs the scripts on one Redis; one instance a process."""

    def __init__(
        self,
        client: redis.Redis,
        codec: Codec,
        *,
        lease_s: float = 60,
        days: float = 14,
        hasher: Hasher | None = None,
    ) -> None:
        self.client = client
        self.hasher = hasher or Hasher(())
        self.codec = codec
        self.lease_s = lease_s
        #: How long the record of an ended upload is kept, in seconds.
        self.ttl_s = int(days * 86400)
        self._scripts = {
            name: client.register_script(text) for name, text in assembled_scripts().items()
        }

    def run(self, name: str, *values: bytes, client: Any = None, **arguments: Any) -> Any:
        """Run a script, by *client* when that is a pipeline.

        Args:
            name: the file in ``lua/``, without its suffix; the file lists the arguments.
            values: bytes that JSON cannot hold, ``ARGV[2]`` and so on in the script.
            client: a pipeline that collects the answers.
            arguments: plain values. An argument that is None is absent in the script.
        """
        given = {key: value for key, value in arguments.items() if value is not None}
        # A lone surrogate, as in a name that is not UTF-8, would make Redis refuse the call.
        text = json.dumps(given, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
        script = self._scripts[name]
        try:
            return script(args=[text, *values], client=client)
        except redis.ResponseError as error:
            if client is not None or not _is_of_data(error):
                raise
            try:
                self.repair([str(arguments["id"])] if "id" in arguments else [])
            except redis.ResponseError:  # an operator may not
                raise error from None
        return script(args=[text, *values], client=client)

    def repair(self, upload_ids: Sequence[str] = ()) -> None:
        """Remove what somebody else has put under our keys, and into some records.

        Raises:
            RedisError: Redis does not answer, or this user may not repair.
        """
        script = self._scripts["repair"]
        if found := script(args=[json.dumps({"ids": [*upload_ids]})]):
            log_repaired(found)


def log_repaired(found: Iterable[bytes | str]) -> None:
    """Log which keys held what farmhaul does not put there."""
    names = ",".join(sorted(visible(keys.to_text(key)) for key in found))
    why = "what farmhaul does not put there was removed; find out who else writes to Redis"
    log.error("keys_repaired", keys=names, text=why)


def _is_of_data(error: redis.ResponseError) -> bool:
    """Return whether an error of a script is due to what Redis holds, and not to Redis itself."""
    # The classes below it are those that Redis gives by a code: full, read-only, no permission.
    return type(error) is redis.ResponseError and not str(error).startswith(("MISCONF", "NOREPL"))


def open_scripts(settings: Settings, client: redis.Redis) -> Scripts:
    """Return the scripts, with the lease, the keys and the retention of the environment."""
    return Scripts(
        client,
        message_codec(settings),
        lease_s=settings.lease_s,
        days=settings.record_days,
        hasher=Hasher(index_keys(settings)),
    )


def assembled_scripts() -> dict[str, str]:
    """Return the source of each script as Redis gets it, by the script's name."""
    header = _constants()
    return {
        path.name.removesuffix(".lua"): INCLUDE.sub(
            lambda match: _joined(LUA / "includes" / f"{match[1]}.lua"),
            # In front of the first line, which is a comment: no line moves.
            f"{header} {path.read_text(encoding='utf-8')}",
        )
        for path in LUA.iterdir()
        if path.name.endswith(".lua")
    }


def _joined(include: Traversable) -> str:
    lines = (line.strip() for line in include.read_text(encoding="utf-8").splitlines())
    return " ".join(line for line in lines if not line.startswith("--"))


def _constants() -> str:
    """Return the keys, states and stages that the scripts use, as one line of Lua."""
    tables: dict[str, dict[str, Any] | list[Any]] = {
        "KEY": keys.LUA_KEYS,
        "TYPES": key_types.TYPES,
        "LIVE": dict.fromkeys(states.LIVE, True),
        "ENDED": dict.fromkeys(states.ENDED, True),
        "SERVICES": list(states.SERVICES),
        "SCORE": {"preview_step": states.PREVIEW_STEP},
        "NODE": {
            "worker_s": nodes.WORKER_S,
            "return_s": nodes.RETURN_S,
            "is_local": nodes.IS_LOCAL,
        },
        "STAGE": {stage: number for number, stage in enumerate(states.STAGES, start=1)},
    }
    return " ".join(f"local {name} = {_lua(table)}" for name, table in tables.items())


def _lua(table: dict[str, Any] | list[Any]) -> str:
    if isinstance(table, list):
        return "{" + ", ".join(json.dumps(value) for value in table) + "}"
    return "{" + ", ".join(f"[{_text(k)}] = {_text(v)}" for k, v in table.items()) + "}"


def _text(value: Any) -> str:
    # Lua 5.1 knows no escapes of Unicode, as for the bytes in the names of kombu's queues.
    return re.sub(r"\\u(\w{4})", lambda match: f"\\{int(match[1], 16):03}", json.dumps(value))
