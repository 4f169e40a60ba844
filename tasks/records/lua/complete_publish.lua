-- Note that all files of a publish are recorded: from now on it waits for them alone. It stays
-- open when some are missing, because its enqueue was killed or is still running.
--
-- id      the publish
-- ttl_s   how long the record of an ended upload is kept
--
-- Returns its state.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "endings"

local id, key = args.id, upload_key(args.id)
if not is_storing(id) then
  return done(redis.call('HGET', key, 'state'))
end
if redis.call('SCARD', KEY.files .. id) < tonumber(redis.call('HGET', key, 'total')) then
  return done('storing')
end
redis.call('HSET', key, 'complete', 1)
redis.call('ZREM', KEY.open, id)
for _, file in ipairs(redis.call('SMEMBERS', KEY.left .. id)) do
  local state = redis.call('HGET', upload_key(file), 'state')
  if not (state and LIVE[state]) then
    if is_outdated(file) then
      do_without(id, file, args.ttl_s)
    else
      inform_publishes(file, state or 'lost', args.ttl_s)
    end
    if not is_storing(id) then
      return done(redis.call('HGET', key, 'state'))
    end
  end
end
publish_if_stored(id)
return done(redis.call('HGET', key, 'state'))
