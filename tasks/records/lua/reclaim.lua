-- Take back the uploads of a claim whose message is lost. The deadline is checked again here,
-- because a delivery may have come in between.
--
-- claim   the claim
--
-- Returns how many uploads are pending again.
--- @include "base"
--- @include "counters"
--- @include "moves"

local claim = args.claim
local deadline = tonumber(redis.call('ZSCORE', KEY.claims, claim) or 0)
if deadline > NOW then
  return 0
end
local taken = 0
for _, id in ipairs(redis.call('SMEMBERS', KEY.claim .. claim)) do
  local key = upload_key(id)
  local state, owner, host, score = unpack(redis.call('HMGET', key, 'state', 'claim', 'host',
    'score'))
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
redis.call('DEL', KEY.claim .. claim)
redis.call('ZREM', KEY.claims, claim)
return finish_script(taken)
