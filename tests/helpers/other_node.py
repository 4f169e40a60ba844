"""The application of a worker whose host has the name NODE_NAME: a second node on one machine."""

from __future__ import annotations

import os
import socket

NAME = os.environ["NODE_NAME"]
socket.gethostname = lambda: NAME

# Only now: it reads the name.
from workers.app import app  # noqa: E402

__all__ = ["app"]
