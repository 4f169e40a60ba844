"""Redis behind Sentinel: which of several servers is the master, the sentinels tell.

    sentinel://[user:password@]host:26379,host:26379,host:26379/MASTER[/DB]

User and password are those of the Redis servers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

URL = re.compile(
    r"sentinel://(?:(?P<user>[^:@/]*):(?P<password>[^@/]*)@)?"
    r"(?P<hosts>[^@/,:]+(?::\d{1,5})?(?:,[^@/,:]+(?::\d{1,5})?)*)"
    r"/(?P<master>[^/?#]+)(?:/(?P<db>\d+))?"
)
PORT = 26379


@dataclass(frozen=True, slots=True)
class Sentinel:
    """The sentinels of one master, and how to log in there."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    db: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def from_url(cls, text: str) -> Sentinel:
        """Read the URL; raises ValueError, without the text, which may hold a password."""
        match = URL.fullmatch(text)
        if match is None:
            raise ValueError("is not sentinel://host:26379,host:26379/MASTER[/DB]")
        hosts = [host.partition(":") for host in match["hosts"].split(",")]
        return cls(
            tuple((host, int(port or PORT)) for host, _, port in hosts),
            match["master"],
            int(match["db"] or 0),
            unquote(match["user"] or "") or None,
            unquote(match["password"] or "") or None,
        )

    def kombu_url(self) -> str:
        """Write it as kombu and Celery want it; the master's name goes apart."""
        login = f"{quote(self.user or '')}:{quote(self.password, '')}@" if self.password else ""
        return ";".join(f"sentinel://{login}{host}:{port}/{self.db}" for host, port in self.hosts)
