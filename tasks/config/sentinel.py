"""Redis behind Sentinel: the sentinels know which of several servers is the master.

    sentinel://[user:password@]host:26379,host:26379,host:26379/MASTER[/DB]

The user and password are those of the Redis servers, in percent-encoding.
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
DEFAULT_PORT = 26379


@dataclass(frozen=True, slots=True)
class Sentinel:
    """The sentinels of one master, and the login of that master."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    db: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def from_url(cls, text: str) -> Sentinel:
        """Read a URL.

        Raises:
            ValueError: it is not such a URL; the message never repeats it, because it may contain
                a password.
        """
        match = URL.fullmatch(text)
        if match is None:
            raise ValueError(
                "is not a Sentinel URL; write sentinel://host:26379,host:26379/MASTER[/DB]"
            )
        hosts = [host.partition(":") for host in match["hosts"].split(",")]
        return cls(
            tuple((host, int(port or DEFAULT_PORT)) for host, _, port in hosts),
            match["master"],
            int(match["db"] or 0),
            unquote(match["user"] or "") or None,
            unquote(match["password"] or "") or None,
        )

    def kombu_url(self) -> str:
        """Return the URL for kombu and Celery, which take the master's name as an option."""
        login = f"{quote(self.user or '')}:{quote(self.password, '')}@" if self.password else ""
        return ";".join(f"sentinel://{login}{host}:{port}/{self.db}" for host, port in self.hosts)
