"""For a worker started with ``-I tests.chaos.short_runs``: a run has two parts.

A file of 32 parts then occupies as many processes as one of 1 GiB.
"""

from __future__ import annotations

from tasks.transfer import multipart

multipart.RUN_BYTES = 16 << 20
