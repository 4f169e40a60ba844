"""The options of a TCP connection that has the system probe it while nothing is sent.

Its other side may be gone without a word, as behind a firewall that has forgotten the connection.
The probes notice it within 30 seconds.
"""

from __future__ import annotations

# Not the module socket, whose import costs a hook more than half of an empty Python.
import _socket

#: As ``setsockopt`` takes them. Not each system has all of the last three.
KEEPALIVE = [
    (_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1),
    *(
        (_socket.IPPROTO_TCP, getattr(_socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
        if hasattr(_socket, name)
    ),
]
