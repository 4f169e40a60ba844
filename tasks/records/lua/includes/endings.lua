-- How an upload ends, and what that means for the publishes that wait for it.

-- The publishes that a member belongs to: several, if a sequence is enqueued by itself and again
-- with its movie.
local function publishes_of(id)
  return string.gmatch(redis.call('HGET', upload_key(id), 'publish') or '', '[^,]+')
end

local function is_storing(publish)
  return redis.call('HGET', upload_key(publish), 'state') == 'storing'
end

local function waiting_publishes(id)
  local found = {}
  for publish in publishes_of(id) do
    if is_storing(publish) then
      found[#found + 1] = publish
    end
  end
  return found
end

-- The hosts of the publishes that this script has made pending: they need a wake-up.
local complete_on = {}

-- Let a publish become visible when all of its members are stored. A chain of its own does it.
local function publish_if_stored(id)
  local key = upload_key(id)
  local state, complete, host, score = unpack(redis.call('HMGET', key, 'state', 'complete',
    'host', 'score'))
  if state == 'storing' and complete and redis.call('EXISTS', KEY.left .. id) == 0 then
    redis.call('HSET', key, 'exclusive', 1)
    make_pending(id, state, host, score)
    complete_on[#complete_on + 1] = host
  end
end

local finish

-- Whether a newer upload has taken over the component of this one.
local function is_outdated(id)
  local component = redis.call('HGET', upload_key(id), 'component') or ''
  local current = redis.call('HGET', KEY.component .. component, 'current')
  return current and current ~= id
end

-- Drop a member whose component has a newer file from a publish. A publish that has no member left
-- is superseded.
local function drop_from_publish(publish, id, ttl)
  local key = upload_key(publish)
  local state = redis.call('HGET', key, 'state')
  if LIVE[state] and redis.call('SREM', KEY.files .. publish, id) == 1 then
    redis.call('SREM', KEY.left .. publish, id)
    -- For the worker that shows the publish: it checks that these have newer files indeed.
    redis.call('SADD', KEY.dropped .. publish, id)
    if redis.call('HINCRBY', key, 'total', -1) > 0 then
      publish_if_stored(publish)
    else
      redis.call('HSET', key, 'error', 'all of its files have newer ones')
      finish(publish, state, 'superseded', ttl)
    end
  end
end

-- Take a file out of its publishes, because a newer file has taken over its component.
local function leave_publishes(id, ttl)
  for publish in publishes_of(id) do
    drop_from_publish(publish, id, ttl)
  end
end

-- Inform a publish of a member that has ended: it is stored, or makes the publish fail.
local function inform_publish(publish, id, to, ttl)
  if to == 'stored' then
    if redis.call('SREM', KEY.left .. publish, id) == 1 then
      local size = redis.call('HGET', upload_key(id), 'size')
      redis.call('HINCRBY', upload_key(publish), 'sent', tonumber(size or '') or 0)
      note_rate(upload_key(publish))
    end
    publish_if_stored(publish)
  elseif is_storing(publish) then
    local error, kind = unpack(redis.call('HMGET', upload_key(id), 'error', 'error_kind'))
    redis.call('HSET', upload_key(publish), 'error', error or ('one of its files was ' .. to),
      'error_kind', kind or to)
    finish(publish, 'storing', 'failed', ttl)
  end
end

local function inform_publishes(id, to, ttl)
  if to == 'superseded' then
    leave_publishes(id, ttl)
    return
  end
  for publish in publishes_of(id) do
    inform_publish(publish, id, to, ttl)
  end
end

-- The keys that are of no use once their uploads have ended.
local outlived = {}

at_end[#at_end + 1] = function()
  if #outlived > 0 then
    redis.call('DEL', unpack(outlived))
  end
end

-- Remove what is said of an attempt that has ended.
local function forget_attempt(key, to, total, is_success)
  local names = { 'retry_reason', 'due', 'since', 'retries', 'retry_stage', 'exclusive', 'failed',
    'failed_alone', 'tried' }
  if not total then
    names[#names + 1] = 'sent'
  end
  if is_success then
    names[#names + 1], names[#names + 2] = 'error', 'error_kind'
    for _, stage in pairs(STAGE) do
      names[#names + 1] = 'deliveries:' .. stage
    end
  end
  if is_success and to == 'located' then
    -- That the parts were joined must not be said again when ftrack has deleted the file.
    names[#names + 1], names[#names + 2] = 'joined', 'joined_seal'
  end
  redis.call('HDEL', key, unpack(names))
end

-- The fields of the record that `finish` needs.
local ENDING = { 'claim', 'host', 'error_kind', 'size', 'score', 'total', 'publish', 'located' }

-- End an upload. The new fencing token locks out a worker that is still busy with it. `record` are
-- these fields, if a stage has read them that has succeeded under `record.fence`. Then an upload
-- that was located before has been counted, and so has a member of which the store was only asked.
function finish(id, from, to, ttl, record)
  local key, is_success = upload_key(id), record ~= nil
  record = record or read_fields(key, ENDING)
  local size, total = record.size, record.total
  local known_by = to == 'located' and record.located or to == 'stored' and record.seen or ''
  local is_known = is_success and known_by ~= ''
  if from == 'pending' then
    redis.call('ZREM', pending_key(record.host or ''), id)
  elseif from == 'retrying' then
    redis.call('ZREM', KEY.retrying, id)
  elseif from == 'storing' then
    redis.call('ZREM', KEY.open, id)
  end
  -- The move begins with a removal, after which a full Redis accepts the rest.
  leave_claim_at_end(id, record.claim)
  if is_success then
    move(id, from, to, record, 'claim', '', 'fence', tonumber(record.fence) + 1)
  else
    move(id, from, to, record, 'claim', '')
    redis.call('HINCRBY', key, 'fence', 1)
  end
  forget_attempt(key, to, total, is_success)
  redis.call('EXPIRE', key, ttl)
  if total then
    redis.call('EXPIRE', KEY.files .. id, ttl)
    redis.call('EXPIRE', KEY.left .. id, ttl)
    redis.call('EXPIRE', KEY.dropped .. id, ttl)
  end
  if to == 'located' or to == 'stored' then
    outlived[#outlived + 1], outlived[#outlived + 2] = KEY.parts .. id, KEY.runs .. id
  end
  if not is_known then
    count(to == 'failed' and 'failed:' .. (record.error_kind or '') or to)
  end
  if to == 'located' and not is_known then
    count('located_bytes', tonumber(size or '') or 0)
    count_seconds(tonumber(record.score or '') or 0)
  end
  if to == 'failed' then
    notice_of_failure(id)
  elseif to == 'located' and total and not is_known then
    notice('publish_visible', { id = id })
  end
  if record.publish then
    inform_publishes(id, to, ttl)
  end
end
