"""What workers tell a ``farmhaul check --farm``: results, and that they still work on its files.

One hash for each check, which the command empties while it reads. The command opens it again and
again, and a worker that finds it closed stops: a check whose command has ended leaves nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import redis

from tasks.records.keys import check_key, to_text
from tasks.records.numbers import number
from tasks.records.scripts import Scripts
from tasks.transfer.errors import SealBrokenError

#: A check is closed if its command has not opened it again for so long.
OPEN_S = 60
#: When a worker hands the rest of its files back, because it stops.
GIVEN_BACK = "given back"

#: The result of a file: its number in the check, the state, two sizes, why, and the worker.
Row = tuple[int, str, int | None, int | None, str, str]

_OPEN, _BEAT, _TRIES, _ROWS = "open", "beat:", "tries:", "rows:"


@dataclass(slots=True)
class Told:
    """What workers have told: results, and the last sign of life of each task's number."""

    rows: list[Row] = field(default_factory=list)
    beats: dict[int, str] = field(default_factory=dict)


class Checks:
    """Writes and reads what workers tell the command."""

    def __init__(self, scripts: Scripts, check_id: str) -> None:
        self.redis: Any = scripts.client
        self.codec = scripts.codec
        self.check_id = check_id
        self.key = check_key(check_id)

    def open(self) -> None:
        """Note that the command still waits."""
        now, _ = self.redis.time()
        pipeline = self.redis.pipeline()
        pipeline.hset(self.key, _OPEN, now)
        pipeline.expire(self.key, OPEN_S)
        pipeline.execute()

    def close(self) -> None:
        """Remove everything; workers stop."""
        self.redis.delete(self.key)

    def is_open(self) -> bool:
        """Return whether the command still waits."""
        now, _ = self.redis.time()
        opened = to_text(self.redis.hget(self.key, _OPEN))
        return bool(int(now) - number(opened) < OPEN_S)

    def begin(self, number: int) -> int:
        """Count the tries of a task, and return how many there were."""
        return int(self.redis.hincrby(self.key, f"{_TRIES}{number}", 1))

    def tell(self, number: int, rows: Sequence[Row], beat: str = "") -> None:
        """Add results of a task, and note that it lives."""
        now, micros = self.redis.time()
        fields = {f"{_BEAT}{number}": beat or f"{now}.{micros}"}
        if rows:
            # What another run of the same task has told stays until the command has read it.
            sealed = self.codec.encode({"check": self.check_id, "rows": rows})
            fields[f"{_ROWS}{number}:{uuid.uuid4()}"] = sealed
        pipeline = self.redis.pipeline()
        pipeline.hset(self.key, mapping=fields)
        pipeline.expire(self.key, OPEN_S)
        pipeline.execute()

    def take(self) -> Told:
        """Return what was told, and remove the results.

        Raises:
            RedisError: nothing could be read.
        """
        found = {to_text(name): to_text(value) for name, value in self._all().items()}
        told = Told()
        for name, value in found.items():
            if name.startswith(_ROWS):
                told.rows += self._rows(value)
            elif name.startswith(_BEAT) and name[len(_BEAT) :].isdecimal():
                told.beats[int(name[len(_BEAT) :])] = value
        if read := [name for name in found if name.startswith(_ROWS)]:
            with suppress(redis.RedisError):  # read again, which does no harm
                self.redis.hdel(self.key, *read)
        return told

    def forget(self, numbers: Sequence[int]) -> None:
        """Remove what was noted about tasks that have ended."""
        if numbers:
            fields = [f"{kind}{number}" for number in numbers for kind in (_BEAT, _TRIES)]
            self.redis.hdel(self.key, *fields)

    def _all(self) -> Mapping[Any, Any]:
        found: Mapping[Any, Any] = self.redis.hgetall(self.key)
        return found

    def _rows(self, text: str) -> list[Row]:
        """Return results; none if no worker of this farm has told them to this check."""
        try:
            told = self.codec.decode(text)
            if told["check"] != self.check_id:
                return []
            return [
                (int(number), str(state), size, stored, str(why), str(worker))
                for number, state, size, stored, why, worker in told["rows"]
            ]
        except (SealBrokenError, KeyError, TypeError, ValueError):
            return []
