"""What a server on loopback that asks for no login answers: only what its own machine asks for.

A browser on this machine also asks for pages elsewhere. They send forms, and their names may lead
to loopback, so that their scripts may read the answers.
"""

from __future__ import annotations

import ipaddress
import re

#: How a browser on the same machine names a server on loopback.
HOST = re.compile(r"(127(\.\d{1,3}){3}|\[::1\]|localhost)(:\d+)?", re.IGNORECASE)
ADDRESS = re.compile(r"[\d.]+|\[[\da-fA-F:.]+\]")


def is_loopback(address: str) -> bool:
    """Return whether only this machine reaches a server that listens on this address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def is_rebound(host: str, language: str | None) -> bool:
    """Return whether a browser names a server by a name that may be of a page elsewhere.

    Prometheus may use any name. A browser sends Accept-Language, which no script can take out.

    Args:
        host: the header Host.
        language: the header Accept-Language.
    """
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    return language is not None and "." in name and not ADDRESS.fullmatch(name)


def is_from_here(host: str, origin: str | None, site: str | None) -> bool:
    """Return whether a request names loopback, and comes from no page elsewhere.

    Args:
        host: the header Host; empty if there is none.
        origin: the header Origin.
        site: the header Sec-Fetch-Site.
    """
    is_other = origin is not None and origin.partition("://")[2] != host
    return bool(HOST.fullmatch(host)) and not is_other and site != "cross-site"
