-- Stop an upload in any live state. A failed upload becomes cancelled too, so that nobody looks at
-- it again. An upload that was located, and is retried, is located again if its bytes are stored:
-- ftrack shows them.
--
-- id          the upload
-- ttl_s       how long the record of an ended upload is kept
-- as_member   whether it is stopped as a member of a publish that was stopped: it goes on if
--             another publish waits for it
--
-- Returns the state that it has now, empty when no record exists, and 1 if this has moved it there,
-- else 0.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "notices"
--- @include "endings"

local function is_stored(id)
  return (redis.call('HGET', upload_key(id), 'stored') or '') ~= ''
end

-- A retried publish waits for all of its members until a worker has looked at each.
local function are_stored(members)
  for _, member in ipairs(members) do
    if not is_stored(member) then
      return false
    end
  end
  return true
end

local function is_in_ftrack(id)
  local located, total, component = unpack(redis.call('HMGET', upload_key(id), 'located', 'total',
    'component'))
  if (located or '') == '' or redis.call('HGET', KEY.component .. component, 'current') ~= id then
    return false
  end
  if total then
    return are_stored(redis.call('SMEMBERS', KEY.left .. id))
  end
  return is_stored(id)
end

local state = redis.call('HGET', upload_key(args.id), 'state')
if state and LIVE[state] and not (args.as_member and #waiting_publishes(args.id) > 0) then
  local to = is_in_ftrack(args.id) and 'located' or 'cancelled'
  finish(args.id, state, to, args.ttl_s)
  return finish_script({ to, 1 })
end
if state == 'failed' and not args.as_member then
  move(args.id, state, 'cancelled')
  return finish_script({ 'cancelled', 1 })
end
return finish_script({ state or '', 0 })
