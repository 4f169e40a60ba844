-- Note that all members of a publish are recorded: from now on it waits for them alone. It stays
-- open if some are missing, because its enqueue was killed or is still running.
--
-- id      the publish
-- ttl_s   how long the record of an ended upload is kept
--
-- Returns its state.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "notices"
--- @include "endings"

local id, key = args.id, upload_key(args.id)
if not is_storing(id) then
  return finish_script(redis.call('HGET', key, 'state'))
end
if redis.call('SCARD', KEY.files .. id) < tonumber(redis.call('HGET', key, 'total')) then
  return finish_script('storing')
end
redis.call('HSET', key, 'complete', 1)
redis.call('ZREM', KEY.open, id)
for _, member in ipairs(redis.call('SMEMBERS', KEY.left .. id)) do
  local state = redis.call('HGET', upload_key(member), 'state')
  if not (state and LIVE[state]) then
    if is_outdated(member) then
      drop_from_publish(id, member, args.ttl_s)
    else
      inform_publishes(member, state, args.ttl_s)
    end
    if not is_storing(id) then
      return finish_script(redis.call('HGET', key, 'state'))
    end
  end
end
publish_if_stored(id)
return finish_script(redis.call('HGET', key, 'state'))
