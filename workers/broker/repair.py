"""Queues that somebody has put something else in the place of: a worker could wait on none.

The reconciler repairs the queue that all nodes share. That of a host is the matter of its worker.
"""

from __future__ import annotations

from collections.abc import Sequence

import redis

from tasks.records.keys import TOTALS
from tasks.records.scripts import log_repaired

#: Removes what is no list, and returns its names: no queue is of another type.
REPAIR = """
local removed = {}
for _, key in ipairs(KEYS) do
  local found = redis.call('TYPE', key).ok
  if found ~= 'list' and found ~= 'none' then
    redis.call('UNLINK', key)
    removed[#removed + 1] = key
  end
end
return removed
"""


def repair_queues(client: redis.Redis, keys: Sequence[str]) -> None:
    """Remove those of these keys that are no lists; log and count them.

    Raises:
        RedisError: Redis does not answer.
    """
    # Not by EVAL, which a worker's Redis user may not call.
    if removed := client.register_script(REPAIR)(keys=keys):
        log_repaired(removed)
        client.hincrby(TOTALS, "repaired", len(removed))
