"""For a worker started with ``-I tests.chaos.going_on``: what is done of a batch goes on soon."""

from __future__ import annotations

from tasks.stage import threads

threads.GO_ON_S = 8.0
