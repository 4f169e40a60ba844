-- A sign of life in the middle of a stage: renew the claim, note progress.
-- ARGV: claim, lease, JSON list of {id, fence, sent}; sent is -1 for a run of parts, which
--       counts its finished ones, and while nobody has told
-- Returns the ids that are no longer this delivery's.

local claim, lease = ARGV[1], tonumber(ARGV[2])
local lost = {}
for _, one in ipairs(cjson.decode(ARGV[3])) do
  local key = upload_key(one.id)
  if is_ours(one.id, one.fence) then
    redis.call('HSET', key, 'updated', NOW)
    if one.sent >= 0 then
      redis.call('HSET', key, 'sent', one.sent)
    end
  else
    lost[#lost + 1] = one.id
  end
  -- Also when it was superseded: until the sender says that it has stopped, it has not.
  if is_putting(one.id, one.fence) then
    redis.call('HSET', putting_key(one.id), 'putting_until', NOW + lease)
  end
end
redis.call('ZADD', P .. 'claims', 'XX', NOW + 2 * lease, claim)
return lost
