-- Find uploads that wait, or are being worked on, in no index that anything reads: somebody else has
-- removed it. They are made pending again. So are publishes whose files are all stored, and that were
-- not told. Each call looks at other uploads of each state, in the order in which they moved last.
--
-- max_uploads   number of uploads of each state
-- silent_s      an active upload that nobody has renewed for so long is not being worked on
-- ttl_s         how long the record of an ended upload is kept
--
-- Returns how many were found.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "notices"
--- @include "repair"
--- @include "endings"
--- @include "attempt"

local found = 0

local function is_lost(state, id, host, claim, updated)
  if state == 'pending' then
    return not redis.call('ZSCORE', pending_key(host), id)
  elseif state == 'retrying' then
    return not redis.call('ZSCORE', KEY.retrying, id)
  end
  local is_silent = NOW - (tonumber(updated or 0) or 0) > args.silent_s
  return is_silent and not redis.call('ZSCORE', KEY.claims, claim)
end

local function look(id, state, index)
  local now, host, claim, updated, score = unpack(redis.call('HMGET', upload_key(id), 'state',
    'host', 'claim', 'updated', 'score'))
  if now ~= state then
    redis.call('ZREM', index, id)
  elseif state == 'storing' then
    publish_if_stored(id)
  elseif is_lost(state, id, host or '', claim or '', updated) then
    redis.call('HINCRBY', upload_key(id), 'fence', 1)
    redis.call('HSET', upload_key(id), 'claim', '')
    make_pending(id, state, host or '', score or math.floor(NOW * 1000))
    found = found + 1
  end
end

-- Where to look: anywhere, because those that rightly stay may be the first for days.
local function first_of(index)
  local pages = math.ceil(redis.call('ZCARD', index) / args.max_uploads)
  return pages > 1 and math.floor(NOW) % pages * args.max_uploads or 0
end

for _, state in ipairs({ 'pending', 'retrying', 'active', 'storing' }) do
  for _, index in ipairs({ KEY.state .. state, KEY.file_state .. state }) do
    local first = first_of(index)
    for _, id in ipairs(redis.call('ZRANGE', index, first, first + args.max_uploads - 1)) do
      attempt(id, look, id, state, index)
    end
  end
end
found = found + #complete_on
if found > 0 then
  count('found', found)
end
return finish_script(found)
