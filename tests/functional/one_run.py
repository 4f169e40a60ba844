"""For a worker started with ``-I tests.functional.one_run``: one run of parts at a time.

So two runs, of a file of 300 MB, do what seventeen of 4 GB would.
"""

from __future__ import annotations

import tasks.parts

tasks.parts.RUNS_AT_ONCE = 1
