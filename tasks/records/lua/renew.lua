-- Renew what a living worker holds: its unacknowledged messages and their claims.
-- ARGV: lease, the worker's own clock (kombu compares scores with that), JSON list of
--       delivery tags, JSON list of claims

local lease = tonumber(ARGV[1])
for _, tag in ipairs(cjson.decode(ARGV[3])) do
  redis.call('ZADD', 'unacked_index', 'XX', ARGV[2], tag)
end
for _, claim in ipairs(cjson.decode(ARGV[4])) do
  redis.call('ZADD', P .. 'claims', 'XX', NOW + 2 * lease, claim)
end
return 1
