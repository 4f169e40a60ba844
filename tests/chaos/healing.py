"""Time that passes at once, for tests that would otherwise wait for minutes."""

from __future__ import annotations

import redis

from tasks.records.keys import RETRYING, gate_key
from tasks.records.states import SERVICES

# Atomic, because workers open gates and move uploads at the same time. KEYS: the retrying
# uploads, then the gates.
_PASS = """
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  redis.call('ZADD', KEYS[1], 0, id)
end
for number = 2, #KEYS do
  if redis.call('HEXISTS', KEYS[number], 'until') == 1 then
    redis.call('HSET', KEYS[number], 'until', 0)
    redis.call('HDEL', KEYS[number], 'probed')
  end
end
"""


def let_time_pass(client: redis.Redis) -> None:
    """Make all retries due now, and let closed gates be probed."""
    gates = [gate_key(service) for service in SERVICES]
    client.eval(_PASS, 1 + len(gates), RETRYING, *gates)
