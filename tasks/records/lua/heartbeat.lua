-- Renew a claim in the middle of a stage, and note progress.
--
-- claim     the claim
-- lease_s   seconds
-- ttl_s     how long the record of an ended upload is kept
-- sent      list of {id, fence, sent}: bytes so far; -1 leaves the number as it is, because a
--           large file counts finished parts
--
-- run       the number of a run of parts, from 0, if the claim is a large file
-- ahead     the bytes of its parts that are under way
--
-- Returns the ids that are no longer this delivery's.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "notices"
--- @include "repair"
--- @include "endings"
--- @include "attempt"
--- @include "sending"
--- @include "ahead"

local lost = {}

local function renew(row)
  local key = upload_key(row.id)
  if is_ours(row.id, row.fence) then
    redis.call('HSET', key, 'updated', NOW)
    if row.sent >= 0 then
      redis.call('HSET', key, 'sent', row.sent)
    end
    if args.run then
      set_ahead(row.id, args.run, args.ahead)
    end
    note_rate(key)
  else
    lost[#lost + 1] = row.id
  end
  -- A superseded upload counts as sending until its sender says that it has stopped.
  local component = redis.call('HGET', key, 'component')
  if is_putting(component, row.id, row.fence) then
    redis.call('HSET', component_key(component), 'putting_until', NOW + args.lease_s)
  end
end

for _, row in ipairs(args.sent) do
  attempt(row.id, renew, row)
end
redis.call('ZADD', KEY.claims, 'XX', claim_until(args.lease_s), args.claim)
return finish_script(lost)
