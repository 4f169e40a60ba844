-- Write the record of an upload, and make it pending. Enqueueing the same upload again changes
-- nothing. A publish is `storing` until all of its members are recorded and stored.
--
-- id, component, request   the upload, its component, its sealed request
-- size          bytes; absent when nobody has looked at the file
-- score         of the pending upload, without its time: its priority, and whether it is a preview
-- host          the only node that sees the file, or empty
-- recheck       the file was not looked at: upload it again even if it was located
-- revive        an operator retries the upload
-- ttl_s         how long the record of an ended upload is kept
-- asked_at      when the upload was asked for; absent means now (a spool is sent later)
-- publish       the publish that this is a member of; absent for others
-- total         number of members of a publish; absent for others
--
-- Returns {its state, 1 when it is new}.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "endings"

local id, key, ttl_s = args.id, upload_key(args.id), args.ttl_s
local component_key = KEY.component .. args.component
local asked_at = tonumber(args.asked_at) or NOW
local size = args.size or ''
local is_publish = args.total ~= nil

local state = redis.call('HGET', key, 'state')
local current, current_since = unpack(redis.call('HMGET', component_key, 'current', 'since'))
local has_newer = current and current ~= id

-- Add a member to its publish. Returns whether the member is already stored.
local function attach_to_publish(publish)
  local publishes = publish
  for _, other in ipairs(waiting_publishes(id)) do
    publishes = other == publish and publishes or other .. ',' .. publishes
  end
  redis.call('HSET', key, 'publish', publishes)
  local is_new = redis.call('SADD', KEY.files .. publish, id) == 1
  if state == 'stored' and current == id and not args.recheck then
    redis.call('EXPIRE', key, ttl_s)
    if is_new then
      redis.call('HINCRBY', upload_key(publish), 'sent', tonumber(size) or 0)
    end
    return true
  end
  redis.call('SADD', KEY.left .. publish, id)
  return false
end

local function is_complete(publish)
  local publish_state, complete = unpack(redis.call('HMGET', upload_key(publish), 'state',
    'complete'))
  return publish_state ~= 'storing' or complete, publish_state or ''
end

-- Record an upload that a newer one has already superseded, as when a spool is sent late.
local function record_superseded()
  redis.call('HSET', key, 'component', args.component, 'request', args.request, 'size', size,
    'host', args.host, 'claim', '', 'created', NOW, 'error', 'superseded by ' .. current)
  move(id, false, 'superseded')
  redis.call('EXPIRE', key, ttl_s)
end

local function supersede_older()
  local older = redis.call('HGET', upload_key(current), 'state')
  if older and LIVE[older] then
    redis.call('HSET', upload_key(current), 'error', 'superseded by ' .. id)
    finish(current, older, 'superseded', ttl_s)
  else
    leave_publishes(current, ttl_s)
  end
  -- The store holds, or may hold, the other file's bytes under this component.
  redis.call('HDEL', key, 'file', 'stored', 'located')
end

local function write_record()
  local score = args.score + math.floor(NOW * 1000)
  redis.call('HSET', component_key, 'current', id, 'since', asked_at)
  redis.call('EXPIRE', component_key, ttl_s)
  forget_tries(id)
  redis.call('HDEL', key, 'error', 'error_kind', 'stage', 'worker')
  redis.call('HSETNX', key, 'created', NOW)
  redis.call('HSET', key, 'component', args.component, 'request', args.request, 'size', size,
    'score', score, 'host', args.host, 'claim', '')
  redis.call('PERSIST', key)
  return score
end

if args.publish then
  local ended, publish_state = is_complete(args.publish)
  if ended then
    return { publish_state, 0 }
  end
  if attach_to_publish(args.publish) then
    return { state, 0 }
  end
end

if state and LIVE[state] then
  -- A publish whose hook died before it had recorded all members is continued.
  local is_open = state == 'storing' and redis.call('HEXISTS', key, 'complete') == 0
  return { state, is_open and 1 or 0 }
end
if state == 'located' and current == id and not args.recheck then
  return { state, 0 }
end
if args.revive and has_newer then
  -- Do not go back to the older file.
  if state == 'failed' then
    redis.call('HSET', key, 'error', 'superseded by ' .. current)
    move(id, state, 'superseded')
    state = 'superseded'
  end
  return { state, 0 }
end

-- A publish supersedes none. If two publishes share members, each member decides for itself.
if not is_publish and has_newer then
  if (tonumber(current_since or 0) or 0) > asked_at then
    if not state then
      record_superseded()
    end
    return { state or 'superseded', 0 }
  end
  supersede_older()
end

local score = write_record()
if is_publish then
  redis.call('DEL', KEY.files .. id, KEY.left .. id)
  redis.call('HDEL', key, 'complete')
  redis.call('HSET', key, 'total', args.total, 'sent', 0)
  move(id, state, 'storing')
  redis.call('ZADD', KEY.open, NOW, id)
  return finish_script({ 'storing', 1 })
end
make_pending(id, state, args.host, score)
count('enqueued')
return finish_script({ 'pending', 1 })
