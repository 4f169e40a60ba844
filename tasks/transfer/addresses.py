"""Where ftrack may send a worker: which URLs it may sign, and which addresses may be behind them.

A worker stands inside the studio's network. Whoever answers in ftrack's place must not be able to
have it send a file to what listens there without encryption, or to the service of a cloud that
hands out the rights of the machine.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit

#: Hosts that are this machine: a secret may be sent to them without encryption.
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

#: A URL that can be written into a request (RFC 9112), without what clients read differently: a
#: user before the host, and a backslash, which some take for a slash.
URL = re.compile(r"https?://[A-Za-z0-9._\[\]:-]+(?:[/?][!-\[\]-~]*)?")
#: As long as the stores accept them.
MAX_URL_CHARS = 8192

#: Where clouds serve the metadata of a machine, apart from the link-local addresses: Alibaba,
#: Azure, and Amazon by IPv6.
METADATA = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "fd00:ec2::254"))
)
METADATA_HOSTS = frozenset({"metadata", "metadata.google.internal", "instance-data"})


def may_be_called(url: str, server_url: str) -> bool:
    """Return whether ftrack, which is at ``server_url``, may have a worker call a URL.

    Only an ftrack on this machine may name a service on this machine, as the sandbox does.
    """
    if len(url) > MAX_URL_CHARS or not URL.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        host, has_port = parts.hostname or "", parts.port != 0
    except ValueError:
        return False
    if host in LOOPBACK:
        return has_port and urlsplit(server_url).hostname in LOOPBACK
    return has_port and bool(host) and parts.scheme == "https" and not _is_barred_name(host)


def _is_barred_name(host: str) -> bool:
    try:
        return is_barred(host)
    except ValueError:  # a name; the address behind it is checked when it is known
        return host.rstrip(".") in METADATA_HOSTS


def is_barred(address: str) -> bool:
    """Return whether no store can be at an IP address: it is link-local, or serves metadata.

    Raises:
        ValueError: it is not an IP address.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return found.is_link_local or found in METADATA


def check_peer(connected: socket.socket) -> None:
    """Check what a name has led to, before a byte is sent; otherwise close the connection.

    Raises:
        OSError: the address is barred.
    """
    if connected.family in {socket.AF_INET, socket.AF_INET6}:
        address = str(connected.getpeername()[0])
        if is_barred(address):
            connected.close()
            raise OSError(None, f"the host has the address {address}, which is no store's")
