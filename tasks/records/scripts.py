"""The scripts in ``lua/``, each one atomic move."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import redis

from tasks.config.sealing import Codec

_SCRIPTS = (
    *(
        "enqueue",
        "deliver",
        "settle",
        "promote_due",
        "reclaim",
        "cancel",
        "heartbeat",
        "renew",
        "take_tokens",
    ),
    *("open_multipart", "fan_out", "start_run", "part_done", "end_run"),
    *("retry_publish", "complete_publish", "take_due_jobs", "record_job_state"),
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
        source = files("tasks.records") / "lua"
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
        """Run one of the scripts in ``tasks/records/lua``."""
        return self._scripts[name](args=args, client=client)
