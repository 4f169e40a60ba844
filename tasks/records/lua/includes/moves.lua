-- Moves between states; tasks/records/states.py lists them all.

-- Move an upload to another state. `from` is the state it is in, or false for a new upload.
-- The members of publishes have an index of their own, so that the other one lists uploads only.
local function move(id, from, to)
  local is_member = redis.call('HEXISTS', upload_key(id), 'publish') == 1
  local index = is_member and KEY.file_state or KEY.state
  if from then
    redis.call('ZREM', index .. from, id)
  end
  redis.call('ZADD', index .. to, NOW, id)
  redis.call('HSET', upload_key(id), 'state', to, 'updated', NOW)
end

-- Put an upload where the next wake-up finds it. The state is the last that is written: if an index
-- is broken, the move has not happened yet, and is made again.
local function make_pending(id, from, host, score)
  redis.call('ZADD', pending_key(host), score, id)
  if host ~= '' then
    redis.call('SADD', KEY.hosts, host)
  end
  move(id, from, 'pending')
end

-- Let an upload wait until `due`.
local function make_retrying(id, due, reason)
  redis.call('HSET', upload_key(id), 'due', due, 'retry_reason', reason)
  redis.call('ZADD', KEY.retrying, due, id)
  move(id, 'active', 'retrying')
end

-- Take an upload out of its claim. The claim is over when it has none left.
local function leave_claim(id, claim)
  if claim and claim ~= '' then
    redis.call('SREM', KEY.claim .. claim, id)
    if redis.call('EXISTS', KEY.claim .. claim) == 0 then
      redis.call('ZREM', KEY.claims, claim)
    end
    redis.call('HSET', upload_key(id), 'claim', '')
  end
end

-- Whether the upload is active under this fencing token.
local function is_ours(id, fence)
  local state, current = unpack(redis.call('HMGET', upload_key(id), 'state', 'fence'))
  return state == 'active' and tonumber(current) == fence
end

-- Reset the counters of earlier attempts, or this one would fail early.
local function forget_tries(id)
  for _, field in ipairs(redis.call('HKEYS', upload_key(id))) do
    if string.find(field, '^tries:') or string.find(field, '^deliveries:')
      or string.find(field, '^failed') then
      redis.call('HDEL', upload_key(id), field)
    end
  end
end

-- Note how fast an upload is sent, or a publish: in bytes a second, as the mean over RATE_S or a
-- little more. What moved before a pause of PAUSE_S says nothing about now.
local RATE_S, PAUSE_S = 5, 30

local function note_rate(key)
  local sent, ahead, at, from = unpack(redis.call('HMGET', key, 'sent', 'ahead', 'rate_at',
    'rate_from'))
  local total = (tonumber(sent) or 0) + (tonumber(ahead) or 0)
  local passed_s = NOW - (tonumber(at) or 0)
  local moved = total - (tonumber(from) or 0)
  if passed_s > PAUSE_S or moved < 0 then
    redis.call('HDEL', key, 'rate')
  elseif passed_s >= RATE_S then
    redis.call('HSET', key, 'rate', string.format('%.0f', moved / passed_s))
  else
    return
  end
  redis.call('HSET', key, 'rate_at', string.format('%.3f', NOW), 'rate_from', total)
end
