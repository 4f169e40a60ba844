"""For a worker started with ``-I tests.functional.one_run``: one run of parts at a time.

A file of 300 MB, with its two runs, then behaves as one of 4 GB with seventeen runs would.
"""

from __future__ import annotations

import tasks.parts

tasks.parts.RUNS_AT_ONCE = 1
