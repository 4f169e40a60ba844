-- Take back the uploads of a claim whose message is lost. The deadline is checked again here,
-- because a delivery may have come in between.
--
-- claim   the claim
-- ttl_s   how long the record of an ended upload is kept
--
-- Returns how many uploads are pending again.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "notices"
--- @include "repair"
--- @include "endings"
--- @include "attempt"

local claim = args.claim
local deadline = tonumber(redis.call('ZSCORE', KEY.claims, claim) or 0)
if deadline > NOW then
  return 0
end
repair_key(KEY.claim .. claim, 'set')
local taken = 0

local function take_back(id)
  local key = upload_key(id)
  local state, owner, host, score = unpack(redis.call('HMGET', key, 'state', 'claim', 'host',
    'score'))
  if state == 'active' and owner == claim then
    redis.call('HINCRBY', key, 'fence', 1)
    redis.call('HSET', key, 'claim', '')
    make_pending(id, state, host or '', score or NOW * 1000)
    taken = taken + 1
  end
end

for _, id in ipairs(redis.call('SMEMBERS', KEY.claim .. claim)) do
  attempt(id, take_back, id)
end
if taken > 0 then
  count('claims_lost')
end
redis.call('DEL', KEY.claim .. claim)
redis.call('ZREM', KEY.claims, claim)
return finish_script(taken)
