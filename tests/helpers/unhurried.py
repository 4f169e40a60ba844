"""For a worker started with ``-I tests.helpers.unhurried``: no call and no file counts as slow.

A busy machine may pause for longer than farmhaul bears, and tests count calls.
"""

from __future__ import annotations

import math

from tasks.transfer import pace

pace.LEAST_S = math.inf
