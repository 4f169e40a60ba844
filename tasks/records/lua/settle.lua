-- End a stage: note what became of each upload. Who holds an old fencing number, or whose
-- upload has ended meanwhile, writes nothing.
-- ARGV: record ttl, JSON list of {id, fence, outcome, fields, wait}, JSON list of services
--       that answered
-- outcome: advanced | stored | located | waiting | failed | pending
-- wait: {kind, error, max_tries, patience_s, delay_s, cap_s, jitter, at_least_s, gate}
-- Returns rows {id, state it has now, or 'lost'}.

local ttl = tonumber(ARGV[1])

local function close_gate(service, delay)
  local gate = P .. 'gate:' .. service
  local strikes = redis.call('HINCRBY', gate, 'strikes', 1)
  local closed = tonumber(redis.call('HGET', gate, 'until') or 0)
  redis.call('HSETNX', gate, 'since', NOW)
  -- One answer of many may fail by chance; three with no success between are an outage.
  if closed <= NOW and (strikes >= 3 or service == 'credentials') then
    redis.call('HSET', gate, 'until', NOW + delay)
    count('outages:' .. service)
    redis.call('HDEL', gate, 'probed')
  end
  redis.call('EXPIRE', gate, 86400)
end

local function wait_or_fail(id, key, wait)
  local tries = redis.call('HINCRBY', key, 'tries:' .. wait.kind, 1)
  local waits = redis.call('HINCRBY', key, 'retries', 1)
  redis.call('HSETNX', key, 'since', NOW)
  local since, stage = unpack(redis.call('HMGET', key, 'since', 'stage'))
  redis.call('HSET', key, 'error', wait.error, 'error_kind', wait.kind, 'retry_stage', stage)
  if tries >= wait.max_tries or NOW - tonumber(since) > wait.patience_s then
    finish(id, 'active', 'failed', ttl)
    return 'failed'
  end
  local delay = math.min(wait.cap_s, wait.delay_s * 2 ^ math.min(waits - 1, 30))
  delay = math.max(delay * wait.jitter, wait.at_least_s)
  leave_claim(id, redis.call('HGET', key, 'claim'))
  redis.call('HINCRBY', key, 'fence', 1)
  move(id, 'active', 'retrying')
  count('retried:' .. wait.kind)
  redis.call('HSET', key, 'due', NOW + delay, 'retry_reason', wait.kind)
  redis.call('ZADD', P .. 'retrying', NOW + delay, id)
  if wait.gate ~= '' then
    close_gate(wait.gate, delay)
  end
  return 'retrying'
end

-- What was waited for is over only when the stage that had to wait has come through: on its
-- way there the upload passes through the earlier stages anew.
local function came_through(key)
  local stage, retry_stage = unpack(redis.call('HMGET', key, 'stage', 'retry_stage'))
  if retry_stage and tonumber(stage) >= tonumber(retry_stage) then
    redis.call('HDEL', key, 'since', 'retries', 'retry_stage', 'error', 'error_kind',
      'retry_reason', 'due')
  end
end

-- Bytes count once they are in the store; those of a large file did so part by part.
local function count_stored(id, key, fields)
  local stored = fields.stored or ''
  if stored == '' or redis.call('EXISTS', parts_key(id)) == 1 then
    return
  end
  local before, total = unpack(redis.call('HMGET', key, 'stored', 'total'))
  if stored ~= before and not total then
    count('stored_bytes', tonumber(fields.size) or 0)
  end
end

for _, service in ipairs(cjson.decode(ARGV[3])) do
  redis.call('DEL', P .. 'gate:' .. service)
end

local rows = {}
for _, one in ipairs(cjson.decode(ARGV[2])) do
  local key = upload_key(one.id)
  local now_state = 'lost'
  end_put(one.id, one.fence)
  if is_ours(one.id, one.fence) then
    redis.call('HDEL', key, 'deliveries:' .. redis.call('HGET', key, 'stage'))
    count_stored(one.id, key, one.fields)
    for name, value in pairs(one.fields) do
      redis.call('HSET', key, name, value)
    end
    if one.outcome == 'advanced' then
      came_through(key)
      redis.call('HSET', key, 'done', redis.call('HGET', key, 'stage'))
      now_state = 'active'
    elseif one.outcome == 'pending' then
      local claim, host, score = unpack(redis.call('HMGET', key, 'claim', 'host', 'score'))
      leave_claim(one.id, claim)
      make_pending(one.id, 'active', host, score)
      now_state = 'pending'
    elseif one.outcome == 'located' then
      redis.call('HSET', key, 'located', NOW)
      redis.call('HDEL', key, 'error', 'error_kind')
      finish(one.id, 'active', 'located', ttl)
      if one.fields.jobs then
        redis.call('HSET', key, 'job_state', 'queued')
        redis.call('ZADD', P .. 'jobs', NOW, one.id)
      end
      now_state = 'located'
    elseif one.outcome == 'stored' then
      redis.call('HDEL', key, 'error', 'error_kind')
      finish(one.id, 'active', 'stored', ttl)
      now_state = 'stored'
    elseif one.outcome == 'failed' then
      finish(one.id, 'active', 'failed', ttl)
      now_state = 'failed'
    else
      now_state = wait_or_fail(one.id, key, one.wait)
    end
  end
  rows[#rows + 1] = { one.id, now_state }
end
return rows
