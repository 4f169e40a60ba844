-- Take back what a claim holds: its message is lost. Checked again here, since a delivery
-- may have come meanwhile.
-- ARGV: claim
-- Returns how many uploads are pending again.

local claim = ARGV[1]
local deadline = tonumber(redis.call('ZSCORE', P .. 'claims', claim) or 0)
if deadline > NOW then
  return 0
end
local taken = 0
for _, id in ipairs(redis.call('SMEMBERS', P .. 'claim:' .. claim)) do
  local key = upload_key(id)
  local state, owner, host, score = unpack(redis.call('HMGET', key, 'state', 'claim', 'host', 'score'))
  if state == 'active' and owner == claim then
    redis.call('HINCRBY', key, 'fence', 1)
    redis.call('HSET', key, 'claim', '')
    make_pending(id, state, host, score)
    taken = taken + 1
  end
end
if taken > 0 then
  count('claims_lost')
end
redis.call('DEL', P .. 'claim:' .. claim)
redis.call('ZREM', P .. 'claims', claim)
return taken
