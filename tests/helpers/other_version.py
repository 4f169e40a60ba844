"""For a worker started with ``-I tests.helpers.other_version``: it says that it is an older one."""

from __future__ import annotations

from workers import health
from workers.steps import refusals

health.VERSION = refusals.VERSION = "0.0.9"
