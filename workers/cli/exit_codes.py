"""The exit codes of ``farmhaul``; docs/cli.md says what a hook does with each."""

from __future__ import annotations

FAULT = 1
"""``doctor`` found a fault."""
BAD_INPUT = 2
"""The arguments, a manifest or the environment cannot be used; nothing was queued."""
NO_REDIS = 3
"""Redis is not reachable, or is full, and there is no spool."""
FAILED = 4
"""With ``--wait``: an upload failed, or ``--timeout`` came first."""
INTERRUPTED = 130
"""Ctrl-C, as shells count signals: 128 + SIGINT."""
