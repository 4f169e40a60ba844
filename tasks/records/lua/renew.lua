-- Renew the leases of a living worker: its unacknowledged messages, and their claims.
--
-- lease_s   seconds
-- clock_s   the worker's own clock, with which kombu compares the scores of its index
-- tags      delivery tags of kombu
-- claims    ids of claims
--- @include "base"

for _, tag in ipairs(args.tags) do
  redis.call('ZADD', KEY.unacked_index, 'XX', args.clock_s, tag)
end
for _, claim in ipairs(args.claims) do
  redis.call('ZADD', KEY.claims, 'XX', claim_until(args.lease_s), claim)
end
return 1
