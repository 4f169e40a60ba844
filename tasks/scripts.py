"""The scripts in ``tasks/lua``, each one atomic move, and the names of what they work on."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import redis

from tasks.codec import Codec

PREFIX = "farmhaul:"
_SCRIPTS = (
    *("enqueue", "deliver", "settle", "tick", "reclaim", "cancel", "beat", "renew", "draw"),
    *("lay", "fan_out", "start_run", "part_done", "end_run"),
    *("reopen", "close", "jobs_due", "job_told"),
)


class Scripts:
    """Runs them; one instance a process."""

    def __init__(
        self, client: redis.Redis, codec: Codec, *, lease_s: float = 60, days: float = 14
    ) -> None:
        self.client = client
        self.codec = codec
        self.lease_s = lease_s
        self.ttl_s = int(days * 86400)
        source = files("tasks") / "lua"
        common = (source / "common.lua").read_text(encoding="utf-8")
        self._scripts = {
            name: client.register_script(
                # Whatever way a script returns, what it has counted is written.
                f"{common}\nlocal function script()\n"
                + (source / f"{name}.lua").read_text(encoding="utf-8")
                + "\nend\nlocal answer = script()\nwrite_counts()\nreturn answer"
            )
            for name in _SCRIPTS
        }

    def run(self, name: str, *args: Any, client: Any = None) -> Any:
        """Run one of the scripts in ``tasks/lua``."""
        return self._scripts[name](args=args, client=client)


def upload_key(upload_id: str) -> str:
    """Name the hash of an upload."""
    return f"{PREFIX}upload:{upload_id}"


def text(value: Any) -> str:
    """Make text of what Redis answers; nothing becomes the empty text."""
    return value.decode() if isinstance(value, bytes) else str(value or "")
