"""Nodes: the workers of the farm, by name (``celery@host``), as they note themselves in Redis."""

from __future__ import annotations

#: A worker that has not taken tasks for this long is gone, in seconds.
WORKER_S = 30
