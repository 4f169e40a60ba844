-- Let an ended publish try again with the files that it has. A publish that is still open goes on,
-- because its retry may have been killed.
--
-- id      the publish
-- ttl_s   how long records are kept
--
-- Returns {state, the ids of the files that are not stored when it is storing again}.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "endings"

local id, key = args.id, upload_key(args.id)
local state, component = unpack(redis.call('HMGET', key, 'state', 'component'))
if state == 'storing' and redis.call('HEXISTS', key, 'complete') == 0 then
  return done({ state, redis.call('SMEMBERS', KEY.left .. id) })
end
if not state or LIVE[state] then
  return done({ state or '', {} })
end
redis.call('HSET', KEY.component .. component, 'current', id, 'since', NOW)
redis.call('EXPIRE', KEY.component .. component, args.ttl_s)
forget_tries(id)
redis.call('HDEL', key, 'error', 'error_kind', 'stage', 'worker', 'complete')
for _, lasting in ipairs({ key, KEY.files .. id, KEY.left .. id }) do
  redis.call('PERSIST', lasting)
end
move(id, state, 'storing')
redis.call('ZADD', KEY.open, NOW, id)
-- Stored files with a newer one go too: they would be registered over it, with their own size.
for _, file in ipairs(redis.call('SMEMBERS', KEY.files .. id)) do
  if is_outdated(file) then
    do_without(id, file, args.ttl_s)
  end
end
if not is_storing(id) then
  return done({ redis.call('HGET', key, 'state'), {} })
end
return done({ 'storing', redis.call('SMEMBERS', KEY.left .. id) })
