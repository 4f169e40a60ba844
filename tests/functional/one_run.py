"""For a worker started with ``-I tests.functional.one_run``: one run of parts at a time.

A file of two runs then behaves as one of 1.1 GB with seventeen runs would.
"""

from __future__ import annotations

import tasks.parts

tasks.parts.RUNS_AT_ONCE = 1
