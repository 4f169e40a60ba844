"""Who posts a call."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Caller:
    """Who posted a call, and what the front asked for this one call."""

    user_id: str
    may_write: bool
    url_lifetime_s: float
    server_url: str = ""
