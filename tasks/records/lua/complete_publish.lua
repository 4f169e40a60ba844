-- All files of a publish have been written: from now on it waits for them alone. It stays
-- open when some have not: who writes them has been killed, or is not done.
-- ARGV: id, ttl. Returns its state.

local id, ttl = ARGV[1], tonumber(ARGV[2])
local key = upload_key(id)
if redis.call('HGET', key, 'state') ~= 'storing' then
  return redis.call('HGET', key, 'state')
end
if redis.call('SCARD', files_key(id)) < tonumber(redis.call('HGET', key, 'total')) then
  return 'storing'
end
redis.call('HSET', key, 'complete', 1)
redis.call('ZREM', OPEN, id)
for _, file in ipairs(redis.call('SMEMBERS', left_key(id))) do
  local state = redis.call('HGET', upload_key(file), 'state')
  if not (state and LIVE[state]) then
    if is_outdated(file) then
      do_without(id, file, ttl)
    else
      tell_publishes(file, state or 'lost', ttl)
    end
    if not is_storing(id) then
      return redis.call('HGET', key, 'state')
    end
  end
end
publish_if_stored(id)
return redis.call('HGET', key, 'state')
