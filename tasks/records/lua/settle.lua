-- Settle the outcome of a stage for each upload. Nothing is written for an upload that has ended,
-- or whose fencing token is an old one.
--
-- settlements   list of {id, fence, outcome, fields, retry}
--   outcome     advanced | stored | located | retrying | failed | pending
--   fields      fields of the record to write
--   retry       {kind, error, max_tries, patience_s, delay_s, cap_s, jitter, at_least_s, gate}
-- answered      services that have answered, so that their gates open
-- ttl_s         how long the record of an ended upload is kept
--
-- Returns rows {id, the state that it has now, or 'lost'}.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "endings"
--- @include "sending"

local ttl_s = args.ttl_s

-- A single failure may be chance; three without a good answer in between are an outage. A strike is
-- counted for each upload, so one failed call for a batch of three closes the gate.
local STRIKES = 3

local function strike(service, delay_s)
  local gate = KEY.gate .. service
  local strikes = redis.call('HINCRBY', gate, 'strikes', 1)
  local closed_until = tonumber(redis.call('HGET', gate, 'until') or 0)
  redis.call('HSETNX', gate, 'since', NOW)
  if closed_until <= NOW and (strikes >= STRIKES or service == 'credentials') then
    redis.call('HSET', gate, 'until', NOW + delay_s)
    count('outages:' .. service)
    redis.call('HDEL', gate, 'probed')
  end
  redis.call('EXPIRE', gate, 86400)
end

local function retry_or_fail(id, key, retry)
  local tries = redis.call('HINCRBY', key, 'tries:' .. retry.kind, 1)
  local retries = redis.call('HINCRBY', key, 'retries', 1)
  redis.call('HSETNX', key, 'since', NOW)
  local since, stage = unpack(redis.call('HMGET', key, 'since', 'stage'))
  redis.call('HSET', key, 'error', retry.error, 'error_kind', retry.kind, 'retry_stage', stage)
  if tries >= retry.max_tries or NOW - tonumber(since) > retry.patience_s then
    finish(id, 'active', 'failed', ttl_s)
    return 'failed'
  end
  local backoff_s = math.min(retry.cap_s, retry.delay_s * 2 ^ math.min(retries - 1, 30))
  local delay_s = math.max(backoff_s * retry.jitter, retry.at_least_s)
  leave_claim(id, redis.call('HGET', key, 'claim'))
  redis.call('HINCRBY', key, 'fence', 1)
  make_retrying(id, NOW + delay_s, retry.kind)
  count('retried:' .. retry.kind)
  if retry.gate ~= '' then
    strike(retry.gate, delay_s)
  end
  return 'retrying'
end

-- Note that an upload has recovered, once the stage that failed has succeeded: on the way there,
-- the upload passes through the earlier stages again. `tries:KIND` stays, so an error that keeps
-- coming back becomes final.
local function note_recovery(key)
  local stage, retry_stage = unpack(redis.call('HMGET', key, 'stage', 'retry_stage'))
  if retry_stage and tonumber(stage) >= tonumber(retry_stage) then
    redis.call('HDEL', key, 'since', 'retries', 'retry_stage', 'error', 'error_kind',
      'retry_reason', 'due')
  end
end

-- Bytes count once they are in the store. Those of a large file were counted part by part.
local function count_stored(id, key, fields)
  local stored = fields.stored or ''
  if stored == '' or redis.call('EXISTS', KEY.parts .. id) == 1 then
    return
  end
  local before, total = unpack(redis.call('HMGET', key, 'stored', 'total'))
  if stored ~= before and not total then
    count('stored_bytes', tonumber(fields.size) or 0)
  end
end

local function advance(_, key)
  note_recovery(key)
  redis.call('HSET', key, 'done', redis.call('HGET', key, 'stage'))
  return 'active'
end

local function put_back(id, key)
  local claim, host, score = unpack(redis.call('HMGET', key, 'claim', 'host', 'score'))
  leave_claim(id, claim)
  make_pending(id, 'active', host, score)
  return 'pending'
end

local function locate(id, key, settlement)
  redis.call('HSET', key, 'located', NOW)
  redis.call('HDEL', key, 'error', 'error_kind')
  finish(id, 'active', 'located', ttl_s)
  if settlement.fields.jobs then
    redis.call('HSET', key, 'job_state', 'queued')
    redis.call('ZADD', KEY.jobs, NOW, id)
  end
  return 'located'
end

local function store(id, key)
  redis.call('HDEL', key, 'error', 'error_kind')
  finish(id, 'active', 'stored', ttl_s)
  return 'stored'
end

local function fail(id)
  finish(id, 'active', 'failed', ttl_s)
  return 'failed'
end

local function retry(id, key, settlement)
  return retry_or_fail(id, key, settlement.retry)
end

local OUTCOMES = {
  advanced = advance, pending = put_back, located = locate, stored = store, failed = fail,
  retrying = retry,
}

for _, service in ipairs(args.answered) do
  redis.call('DEL', KEY.gate .. service)
end

local rows = {}
for _, settlement in ipairs(args.settlements) do
  local id, key = settlement.id, upload_key(settlement.id)
  local state = 'lost'
  end_put(id, settlement.fence)
  if is_ours(id, settlement.fence) then
    redis.call('HDEL', key, 'deliveries:' .. redis.call('HGET', key, 'stage'))
    count_stored(id, key, settlement.fields)
    for name, value in pairs(settlement.fields) do
      redis.call('HSET', key, name, value)
    end
    state = OUTCOMES[settlement.outcome](id, key, settlement)
  end
  rows[#rows + 1] = { id, state }
end
return finish_script(rows)
