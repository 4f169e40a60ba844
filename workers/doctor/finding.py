"""A finding of doctor: what was checked, what was found, and what to do about it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import redis

from tasks.config.settings import Settings

#: The Date header counts whole seconds, and a response is in transit for part of one.
SKEW_WARNING_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look has shown; a fault and most warnings have a next step."""

    level: str
    what: str
    says: str
    next: str = ""

    def line(self, *, human: bool) -> str:
        """Write it for a person, or as a line of JSON."""
        if not human:
            return json.dumps(asdict(self))
        line = f"{self.level:<8} {self.what:<9} {self.says}"
        return f"{line}\n{'':<18} next: {self.next}" if self.next else line


Check = Callable[[Settings, redis.Redis], Iterator[Finding]]


def skew(what: str, theirs_s: float, settings: Settings) -> Iterator[Finding]:
    """Compare this node's clock with another's; silent when they agree."""
    skew_s = abs(time.time() - theirs_s)
    # Workers compare the times of each other's leases (kombu's unacked_index).
    level = "fault" if skew_s > settings.lease_s / 2 else "warning"
    if skew_s > SKEW_WARNING_S:
        says = f"this node's clock and that of {what} are {skew_s:.0f} s apart"
        yield Finding(level, "clock", says, "set both by NTP: timedatectl status")
