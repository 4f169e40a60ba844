"""The parts that doctor's checks share: findings, the farm, and the comparison of clocks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import redis

from tasks.config.sealing import message_codec
from tasks.config.settings import Settings
from tasks.config.texts import visible
from tasks.records.status import Status

#: A Date header counts whole seconds, and a response is in transit for part of one.
SKEW_WARNING_S = 5.0

Level = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check; each fault and most warnings name a next step."""

    level: Level
    what: str
    says: str
    next: str = ""

    def line(self, *, human: bool) -> str:
        """Return the finding as text for people, or as a line of JSON."""
        if not human:
            return json.dumps(asdict(self))
        line = f"{self.level:<8} {self.what:<9} {visible(self.says)}"
        return f"{line}\n{'':<18} next: {visible(self.next)}" if self.next else line


@dataclass(frozen=True, slots=True)
class Farm:
    """The farm as a check reads it: this node's settings, and the Redis that they name."""

    settings: Settings
    client: redis.Redis

    @property
    def status(self) -> Status:
        """A reader of the records."""
        return Status(self.client, message_codec(self.settings))


Check = Callable[[Farm], Iterator[Finding]]


def skew(name: str, clock_s: float, settings: Settings) -> Iterator[Finding]:
    """Compare this node's clock with another's, in seconds since 1970; yield nothing if they agree.

    A large skew is a fault, because workers compare the times of each other's leases (kombu's
    unacked_index).
    """
    skew_s = abs(time.time() - clock_s)
    level: Level = "fault" if skew_s > settings.lease_s / 2 else "warning"
    if skew_s > SKEW_WARNING_S:
        says = f"this node's clock and that of {name} differ by {skew_s:.0f} s"
        yield Finding(level, "clock", says, "set both by NTP: timedatectl status")
