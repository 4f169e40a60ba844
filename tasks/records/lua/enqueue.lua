-- Write the record of an upload and put it among the pending ones, once.
-- ARGV: id, component, request, size, priority, host, recheck ('1'), revive ('1'), ttl,
--       when it was asked for, if that was earlier (from a spool), the publish that it is a
--       file of, the number of its files if it is a publish, whether people look at it ('1')
-- Returns its state, and 1 when it is new. A publish is `storing` until it has been closed.

local id, component, request, size = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local priority, host = tonumber(ARGV[5]), ARGV[6]
local recheck, revive, ttl = ARGV[7] == '1', ARGV[8] == '1', tonumber(ARGV[9])
local asked = tonumber(ARGV[10]) or NOW
local publish, total, preview = ARGV[11], ARGV[12], ARGV[13] == '1'

local key = upload_key(id)
local component_key = P .. 'component:' .. component
local state = redis.call('HGET', key, 'state')
local current, current_since = unpack(redis.call('HMGET', component_key, 'current', 'since'))

if publish ~= '' then
  local publish_state, complete = unpack(redis.call('HMGET', upload_key(publish), 'state',
    'complete'))
  if publish_state ~= 'storing' or complete then
    return { publish_state or '', 0 }
  end
  local publishes = publish
  for _, other in ipairs(waiting_publishes(id)) do
    publishes = other == publish and publishes or other .. ',' .. publishes
  end
  redis.call('HSET', key, 'publish', publishes)
  local is_new = redis.call('SADD', files_key(publish), id) == 1
  if state == 'stored' and current == id and not recheck then
    redis.call('EXPIRE', key, ttl)
    if is_new then
      redis.call('HINCRBY', upload_key(publish), 'sent', tonumber(size) or 0)
    end
    return { state, 0 }
  end
  redis.call('SADD', left_key(publish), id)
end

if state and LIVE[state] then
  -- A publish whose hook died before it had written all files is written on.
  local open = state == 'storing' and redis.call('HEXISTS', key, 'complete') == 0
  return { state, open and 1 or 0 }
end
if state == 'located' and current == id and not recheck then
  return { state, 0 }
end
if revive and current and current ~= id then
  -- A newer file has taken the component over meanwhile: do not turn back.
  if state == 'failed' then
    redis.call('HSET', key, 'error', 'superseded by ' .. current)
    move(id, state, 'superseded')
    state = 'superseded'
  end
  return { state, 0 }
end

-- A publish supersedes none: of what it has in common with another, each file decides.
local is_file = total == ''
if is_file and current and current ~= id and tonumber(current_since or 0) > asked then
  -- A spool is drained late: the component has been asked to have a newer file since.
  if not state then
    redis.call('HSET', key, 'component', component, 'request', request, 'size', size,
      'host', host, 'claim', '', 'created', NOW, 'error', 'superseded by ' .. current)
    move(id, false, 'superseded')
    redis.call('EXPIRE', key, ttl)
    state = 'superseded'
  end
  return { state, 0 }
end

if is_file and current and current ~= id then
  local older = redis.call('HGET', upload_key(current), 'state')
  if older and LIVE[older] then
    redis.call('HSET', upload_key(current), 'error', 'superseded by ' .. id)
    finish(current, older, 'superseded', ttl)
  else
    leave_publishes(current, ttl)
  end
  -- The store holds, or may hold, the other file's bytes under this component.
  redis.call('HDEL', key, 'file', 'stored', 'located')
end
redis.call('HSET', component_key, 'current', id, 'since', asked)
redis.call('EXPIRE', component_key, ttl)

-- Class first, then what people look at, then age: the older of two goes first.
local score = priority * 1e13 + (preview and 0 or 5e12) + math.floor(NOW * 1000)
-- Counts of an earlier life would cut the new one short.
for _, field in ipairs(redis.call('HKEYS', key)) do
  if string.find(field, '^tries:') or string.find(field, '^deliveries:') then
    redis.call('HDEL', key, field)
  end
end
redis.call('HDEL', key, 'error', 'error_kind', 'stage', 'worker')
redis.call('HSETNX', key, 'created', NOW)
redis.call('HSET', key, 'component', component, 'request', request, 'size', size,
  'score', score, 'host', host, 'claim', '')
redis.call('PERSIST', key)
if not is_file then
  redis.call('DEL', files_key(id), left_key(id))
  redis.call('HDEL', key, 'complete')
  redis.call('HSET', key, 'total', total, 'sent', 0)
  move(id, state, 'storing')
  redis.call('ZADD', OPEN, NOW, id)
  return { 'storing', 1 }
end
make_pending(id, state, host, score)
count('enqueued')
return { 'pending', 1 }
