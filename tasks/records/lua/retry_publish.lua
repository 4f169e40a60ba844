-- Open an ended publish again with the members that it has. It waits for all of them, because a file
-- may have changed since it was stored: a worker looks at each, and sends only those that have. A
-- publish that is still open stays so, because its retry may have been killed.
--
-- id      the publish
-- ttl_s   how long records are kept
--
-- Returns {its state, the ids of the members to enqueue again}. The list is empty unless the
-- publish is storing.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "notices"
--- @include "endings"
--- @include "places"

local id, key = args.id, upload_key(args.id)
local state, component = unpack(redis.call('HMGET', key, 'state', 'component'))
if state == 'storing' and redis.call('HEXISTS', key, 'complete') == 0 then
  return finish_script({ state, redis.call('SMEMBERS', KEY.left .. id) })
end
if not state or LIVE[state] then
  return finish_script({ state or '', {} })
end
-- Other files may have taken over a component of it, and must not be mixed with these.
local places = redis.call('HGET', key, 'places')
if was_refused(key) or (places and other_place(cjson.decode(places))) then
  return finish_script({ state, {} })
end
redis.call('HSET', KEY.component .. component, 'current', id, 'since', NOW)
redis.call('EXPIRE', KEY.component .. component, args.ttl_s)
forget_tries(id)
redis.call('HDEL', key, 'error', 'error_kind', 'stage', 'worker', 'complete')
redis.call('PERSIST', key)
redis.call('PERSIST', KEY.files .. id)
redis.call('PERSIST', KEY.dropped .. id)
move(id, state, 'storing')
redis.call('ZADD', KEY.open, NOW, id)
-- Drop each member whose component has a newer file, even if the member is stored: registering it
-- would replace the newer file's size in ftrack by its own.
for _, member in ipairs(redis.call('SMEMBERS', KEY.files .. id)) do
  if is_outdated(member) then
    drop_from_publish(id, member, args.ttl_s)
  end
end
if not is_storing(id) then
  return finish_script({ redis.call('HGET', key, 'state'), {} })
end
local files = redis.call('SMEMBERS', KEY.files .. id)
redis.call('DEL', KEY.left .. id)
for _, file in ipairs(files) do
  redis.call('SADD', KEY.left .. id, file)
end
redis.call('HSET', key, 'sent', 0)
return finish_script({ 'storing', files })
