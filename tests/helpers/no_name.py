"""For a worker started with ``-I tests.helpers.no_name``: its DNS lacks the host of one port.

It is that of the port NO_NAME_PORT, for as long as the file NO_NAME_WHILE exists.
"""

from __future__ import annotations

import os
import socket
from typing import Any

_look_up = socket.getaddrinfo


def _looked_up(host: Any, port: Any, *args: Any, **options: Any) -> Any:
    if str(port) == os.environ["NO_NAME_PORT"] and os.path.exists(os.environ["NO_NAME_WHILE"]):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return _look_up(host, port, *args, **options)


socket.getaddrinfo = _looked_up
