-- Let an ended publish try again with the files that it has, or go on with one that is open,
-- as its retry may have been killed. ARGV: id, ttl
-- Returns its state, and the files that are not stored when it is storing again.

local id, ttl = ARGV[1], tonumber(ARGV[2])
local key = upload_key(id)
local state, component = unpack(redis.call('HMGET', key, 'state', 'component'))
if state == 'storing' and redis.call('HEXISTS', key, 'complete') == 0 then
  return { state, redis.call('SMEMBERS', left_key(id)) }
end
if not state or LIVE[state] then
  return { state or '', {} }
end
redis.call('HSET', P .. 'component:' .. component, 'current', id, 'since', NOW)
redis.call('EXPIRE', P .. 'component:' .. component, ttl)
for _, field in ipairs(redis.call('HKEYS', key)) do
  if string.find(field, '^tries:') or string.find(field, '^deliveries:') then
    redis.call('HDEL', key, field)
  end
end
redis.call('HDEL', key, 'error', 'error_kind', 'stage', 'worker', 'complete')
for _, one in ipairs({ key, files_key(id), left_key(id) }) do
  redis.call('PERSIST', one)
end
move(id, state, 'storing')
redis.call('ZADD', OPEN, NOW, id)
-- Also what is stored: it would be registered over the newer file, with its own size.
for _, file in ipairs(redis.call('SMEMBERS', files_key(id))) do
  if is_outdated(file) then
    do_without(id, file, ttl)
  end
end
if not is_storing(id) then
  return { redis.call('HGET', key, 'state'), {} }
end
return { 'storing', redis.call('SMEMBERS', left_key(id)) }
