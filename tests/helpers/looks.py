"""An hour that passes at once: then the store is asked again for what ftrack shows."""

from __future__ import annotations

from typing import Any

HOUR_S = 3600


def let_an_hour_pass(client: Any) -> None:
    """Have all looks at stored bytes be an hour ago; *client* is a redis.Redis."""
    for key in client.scan_iter("farmhaul:upload:*", count=1000):
        if client.hget(key, "seen"):
            client.hincrbyfloat(key, "seen", -HOUR_S)
