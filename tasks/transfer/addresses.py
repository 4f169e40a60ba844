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
#: The query of a URL, which contains its signature; urllib3 also logs it after a path alone.
QUERY = re.compile(r"(?:\?|\bX-Amz-)[\w.~%-]+=[^\s\"'<>\\)]*", re.IGNORECASE)
#: As long as the stores accept them.
MAX_URL_CHARS = 8192

#: Where clouds serve the metadata of a machine, apart from the link-local addresses: Alibaba,
#: Azure, Oracle, and Amazon and Google by IPv6.
METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    )
)
NAT64 = ipaddress.ip_network("64:ff9b::/96")
#: The last part of an IPv4 address, as resolvers read it.
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
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
    return has_port and bool(host) and parts.scheme == "https" and not _is_barred_host(host)


def _is_barred_host(host: str) -> bool:
    name = host.rstrip(".")
    try:
        return is_barred(host) or _address(host).is_loopback or _address(host).is_unspecified
    except ValueError:
        # A name; the address behind it is checked when it is known. Resolvers also take 127.1.
        last = name.rpartition(".")[2]
        return name in METADATA_HOSTS or name == "localhost" or NUMBER.fullmatch(last) is not None


def is_barred(address: str) -> bool:
    """Return whether no store can be at an IP address: it is link-local, or serves metadata.

    Raises:
        ValueError: it is not an IP address.
    """
    found = _address(address)
    return found.is_link_local or found in METADATA


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an IP address: for one by IPv6 that leads to one by IPv4, the latter."""
    found = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return found
    inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF) if found in NAT64 else None
    return found.ipv4_mapped or found.sixtofour or inner or found


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
