-- Moves between states; tasks/records/states.py lists them all.

-- The gates that await the answer to a probe, by the upload that it is. Read once in a script.
local probes

-- End the wait for the answer to a probe. One that has not come as far as the service that it was to
-- probe says nothing about it, so the next one may follow.
local function end_probe(id)
  if not probes then
    probes = {}
    for _, service in ipairs(SERVICES) do
      local gate = KEY.gate .. service
      local probe = redis.call('HGET', gate, 'probe')
      if probe then
        probes[probe] = probes[probe] or {}
        table.insert(probes[probe], gate)
      end
    end
  end
  for _, gate in ipairs(probes[id] or {}) do
    redis.call('HDEL', gate, 'probed', 'probe')
  end
end

-- Move an upload to another state. `from` is the state it is in, or false for a new upload.
-- The members of publishes have an index of their own, so that the other one lists uploads only.
-- `record` are fields of the record, if they are known, and `publish` is among them. What follows are
-- the names and values of fields that change with the state.
local function move(id, from, to, record, ...)
  local is_member
  if record then
    is_member = record.publish
  else
    is_member = redis.call('HEXISTS', upload_key(id), 'publish') == 1
  end
  local index = is_member and KEY.file_state or KEY.state
  if from == 'active' then
    end_probe(id)
  end
  if from then
    redis.call('ZREM', index .. from, id)
  end
  redis.call('ZADD', index .. to, NOW, id)
  redis.call('HSET', upload_key(id), 'state', to, 'updated', NOW, ...)
end

-- Put an upload where the next wake-up finds it. The state is the last that is written: if an index
-- is broken, the move has not happened yet, and is made again.
local function make_pending(id, from, host, score, record)
  redis.call('ZADD', pending_key(host), score, id)
  if host ~= '' then
    redis.call('SADD', KEY.hosts, host)
  end
  move(id, from, 'pending', record)
end

-- Let an upload wait until `due`.
local function make_retrying(id, due, reason)
  redis.call('HSET', upload_key(id), 'due', due, 'retry_reason', reason)
  redis.call('ZADD', KEY.retrying, due, id)
  move(id, 'active', 'retrying')
end

-- The uploads that leave their claims, by claim: they are mostly all of one.
local leaving = {}

local function is_in_claim(claim)
  return claim and claim ~= ''
end

-- Take an upload out of its claim when the script ends; the caller writes the record.
local function leave_claim_at_end(id, claim)
  if is_in_claim(claim) then
    leaving[claim] = leaving[claim] or {}
    table.insert(leaving[claim], id)
  end
end

-- A claim is over when it has no upload left.
at_end[#at_end + 1] = function()
  for claim, ids in pairs(leaving) do
    local key = KEY.claim .. claim
    if not pcall(redis.call, 'SREM', key, unpack(ids)) then
      -- Somebody else has put another type there.
      redis.call('DEL', key)
    end
    if redis.call('EXISTS', key) == 0 then
      pcall(redis.call, 'ZREM', KEY.claims, claim)
    end
  end
end

-- Take an upload out of its claim. After a removal, a full Redis accepts the rest of a script.
local function leave_claim(id, claim)
  leave_claim_at_end(id, claim)
  if is_in_claim(claim) then
    pcall(redis.call, 'SREM', KEY.claim .. claim, id)
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
