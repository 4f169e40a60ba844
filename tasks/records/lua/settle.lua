-- Settle the outcome of a stage for each upload. Nothing is written for an upload that has ended,
-- or whose fencing token is an old one.
--
-- settlements   list of {id, fence, outcome, fields, retry}
--   outcome     advanced | stored | located | retrying | failed | pending | reopened
--   fields      fields of the record to write; of `seen`, the script writes the time
--   retry       {kind, error, max_tries, patience_s, delay_s, cap_s, jitter, at_least_s, gate} and
--     strike      the upload that stands for all those of one call, if it failed for several
--     split_s     the delay after which each of these is tried alone
--     alone       {error, error_kind, max_tries}: how it fails if its service answers all others
--     own         what may be wrong with the node alone, or empty
--     counter     the kind of error for its max_tries, if that is not `kind`
--     final       it fails if no other node can do it, and none may come back; then the numbers are
--                 absent
--     is_running  true: something still runs that may send the bytes
--     differs     of one that advances: the file is not as it was asked for, on no node
--     gone        of a publish that is reopened: the members whose bytes are gone from ftrack
-- answered      services that have answered, so that their gates open
-- passed        how many of the uploads have shown that the stage's service is up; 1 also if none
--               has, but a control call has shown it
-- reached       whether the node got any answer of that service
-- node          who has done this
-- into          a new claim for those that advance; empty if they stay in theirs
-- lease_s, claim_ttl_s, ttl_s   how long a claim holds unless it is renewed, and how long a forgotten
--   claim, and the record of an ended upload, are kept
-- large_bytes   a file above this size is sent in parts
--
-- Returns {rows {id, the state that it has now, or 'lost'}, hosts that need a wake-up, because their
-- publishes have all of their files now}.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "notices"
--- @include "repair"
--- @include "endings"
--- @include "attempt"
--- @include "sending"
--- @include "nodes"
--- @include "notes"
--- @include "gates"
--- @include "breaker"

local ttl_s = args.ttl_s

-- How many uploads fail here because of a service; the publish of each, and that of each call whose
-- uploads are all of one. A publish of many files that ftrack fails for is one poison.
local failing = 0
local publish_of, call_of_publish = {}, {}

-- How often an upload is tried that a node might do which may come back.
local RETURN_PAUSE_S = 10

local function put_back(id, key)
  local claim, host, score = unpack(redis.call('HMGET', key, 'claim', 'host', 'score'))
  leave_claim(id, claim)
  make_pending(id, 'active', host, score)
  return 'pending'
end

-- Whether all others of the batch have shown that the stage's service is up.
local is_alone_of_batch = args.passed > 0 and args.passed == #args.settlements - 1

-- Hand an upload over, if this failure may be the node's own: at once, and without a try counted.
-- Returns whether that was done. Otherwise it counts, and it is tried again after the delay.
local function hand_over(id, key, retry)
  if not leave_to_others(id, key, args.node, retry.own, retry.final and retry.kind, retry.strike) then
    return false
  end
  if retry.own == 'ftrack' and is_alone_of_batch then
    -- If it is not the node's fault, it would fail a call for a batch on the next node, too.
    redis.call('HSETNX', key, 'exclusive', publish_of[id] or 1)
  end
  redis.call('HSETNX', key, 'since', NOW)
  redis.call('HSET', key, 'error', retry.error, 'error_kind', retry.kind, 'retry_stage',
    redis.call('HGET', key, 'stage'))
  redis.call('HINCRBY', key, 'fence', 1)
  put_back(id, key)
  count('retried:' .. retry.kind)
  return true
end

-- The node that is left after a restart of all, or that comes first, may be the one that is wrong.
local function wait_for_return(id, key, kind)
  leave_claim(id, redis.call('HGET', key, 'claim'))
  redis.call('HINCRBY', key, 'fence', 1)
  redis.call('HSET', key, 'retry_stage', redis.call('HGET', key, 'stage'))
  make_retrying(id, NOW + RETURN_PAUSE_S, kind)
  count('retried:' .. kind)
end

-- Return a node that may come back and do an upload, or nil. Of what does not exist in ftrack, or is
-- not allowed there, people want to hear at once: it is seldom a matter of one node's user.
local function node_to_wait_for(key, own)
  if own == 'ftrack' then
    return nil
  end
  local host, tried = unpack(redis.call('HMGET', key, 'host', 'tried'))
  return host == '' and absent_node(args.node, tried and cjson.decode(tried) or {}) or nil
end

-- What decides the delay of each publish's files: those that fail in one call come back in one.
local retry_of_publish = {}

local function decides_delay(id, retry)
  local publish = retry.strike and publish_of[id]
  if not publish then
    return retry
  end
  retry_of_publish[publish] = retry_of_publish[publish] or retry
  return retry_of_publish[publish]
end

-- The fault of one may have failed the call of several: each is tried alone soon, except in an outage.
-- What was claimed apart already, all of one publish, waits longer each time.
local function delay_before_retry(id, key, retry, retries)
  local shared = decides_delay(id, retry)
  local is_apart = redis.call('HEXISTS', key, 'exclusive') == 1
  if retry.split_s and not is_apart and not is_closed(retry.gate) then
    return shared.split_s
  end
  local backoff_s = math.min(retry.cap_s, retry.delay_s * 2 ^ math.min(retries - 1, 30))
  return math.max(backoff_s * shared.jitter, retry.at_least_s)
end

-- End an upload whose error no other try would fix, unless a node may come back and do it.
local function fail_or_wait(id, key, retry, absent)
  redis.call('HSET', key, 'error', retry.error, 'error_kind', retry.kind)
  redis.call('HSETNX', key, 'since', NOW)
  local since = tonumber(redis.call('HGET', key, 'since')) or 0
  if absent and NOW - since < NODE.return_s then
    wait_for_return(id, key, retry.kind)
    return 'retrying'
  end
  finish(id, 'active', 'failed', ttl_s)
  return 'failed'
end

-- Count a failed try. Returns whether it was the last one, how many there were, whether it is a sign
-- against its service, and the node. If it fails alone while its service answers others, it is none.
-- Nor is a file of a publish, of which all others may fail too, as soon as any upload has an answer.
local function count_try(id, key, retry)
  local tries = redis.call('HINCRBY', key, 'tries:' .. (retry.counter or retry.kind), 1)
  local retries = redis.call('HINCRBY', key, 'retries', 1)
  redis.call('HSETNX', key, 'since', NOW)
  local since, stage, node = unpack(redis.call('HMGET', key, 'since', 'stage', 'worker'))
  redis.call('HSET', key, 'error', retry.error, 'error_kind', retry.kind, 'retry_stage', stage)
  local is_last = tries >= retry.max_tries or NOW - tonumber(since) > retry.patience_s
  local is_alone, are_answered = false, false
  if retry.gate ~= '' then
    is_alone, are_answered = fails_alone(key, retry.gate, stage, node, failing)
  end
  if is_alone and redis.call('HINCRBY', key, 'failed_alone', 1) >= retry.alone.max_tries then
    redis.call('HSET', key, 'error', retry.alone.error, 'error_kind', retry.alone.error_kind)
    is_last = true
  end
  local is_sign = retry.gate ~= '' and not is_alone and not (publish_of[id] and are_answered)
  return is_last, retries, is_sign, node
end

-- Leave an upload to other nodes if its service has not answered this node: it may be the node's
-- network. In an outage, it is a sign against no node. Returns whether they may try it without a try
-- counted.
local function leave_if_unanswered(id, key, retry)
  local is_unanswered = NEEDED[retry.gate] and not args.reached and (retry.own or '') == ''
  if not is_unanswered or args.node == '' then
    return false
  end
  local is_left = leave_to_others(id, key, args.node, retry.gate)
  if is_closed(retry.gate) then
    forget_failed_alone(retry.gate)
    redis.call('SREM', failing_set(retry.gate, args.node), id)
    return false
  end
  return is_left
end

local function retry_or_fail(id, key, retry)
  local absent = retry.final and node_to_wait_for(key, retry.own) -- before it is handed over
  if (retry.own or '') ~= '' and hand_over(id, key, retry) then
    return 'pending'
  end
  if retry.final then
    return fail_or_wait(id, key, retry, absent)
  end
  local is_last, retries, is_sign, node = count_try(id, key, retry)
  if is_last then
    finish(id, 'active', 'failed', ttl_s)
    return 'failed'
  end
  if is_sign then
    strike(retry.gate, call_of_publish[retry.strike or id] or retry.strike or id, node, retry)
  end
  leave_claim(id, redis.call('HGET', key, 'claim'))
  redis.call('HINCRBY', key, 'fence', 1)
  make_retrying(id, NOW + delay_before_retry(id, key, retry, retries), retry.kind)
  count('retried:' .. retry.kind)
  local is_left = leave_if_unanswered(id, key, retry)
  -- It may be a fault of this upload, so from here on it is claimed alone, and holds up no others. It
  -- may be one of its publish: then that is claimed apart from others. In an outage they stay together,
  -- and so does a batch that another node may call for.
  local may_be_its_own = retry.strike
  if retry.gate ~= '' then
    may_be_its_own = not is_closed(retry.gate) and not (retry.strike and is_left)
  end
  if may_be_its_own then
    redis.call('HSETNX', key, 'exclusive', publish_of[id] or 1)
  end
  return 'retrying'
end

-- Note that an upload has recovered, once the stage that failed has succeeded: on the way there,
-- the upload passes through the earlier stages again. `tries:KIND` stays, so an error that keeps
-- coming back becomes final.
local function note_recovery(key, record)
  if record.retry_stage and tonumber(record.stage) >= tonumber(record.retry_stage) then
    redis.call('HDEL', key, 'since', 'retries', 'retry_stage', 'error', 'error_kind',
      'retry_reason', 'due', 'failed', 'failed_alone')
  end
end

local function has_stored(fields, record)
  return (fields.stored or '') ~= '' and fields.stored ~= record.stored
end

-- Bytes count once they are in the store. Those of a large file were counted part by part.
local function count_stored(id, fields, record)
  if record.total or not has_stored(fields, record) then
    return
  end
  -- A file that is not uploaded is noted as stored before it could be sent.
  local is_sent = tonumber(record.stage) ~= STAGE.get_put_metadata
  local size = tonumber(fields.size) or 0
  if is_sent and (size <= args.large_bytes or redis.call('EXISTS', KEY.parts .. id) == 0) then
    count('stored_bytes', size)
  end
end

local function write_fields(key, fields)
  local words = {}
  for name, value in pairs(fields) do
    words[#words + 1] = name
    words[#words + 1] = value
  end
  if #words > 0 then
    redis.call('HSET', key, unpack(words))
  end
end

-- The uploads that go on without the rest of their batch, in a claim of their own.
local gone_on = {}

local function advance(id, key, _, record)
  note_recovery(key, record)
  if args.into ~= '' then
    leave_claim_at_end(id, record.claim)
    redis.call('HSET', key, 'claim', args.into)
    redis.call('SADD', KEY.claim .. args.into, id)
    gone_on[#gone_on + 1] = id
  end
  return 'active'
end

local function locate(id, key, settlement, record)
  finish(id, 'active', 'located', ttl_s, record)
  if settlement.fields.jobs then
    redis.call('HSET', key, 'job_state', 'queued')
    redis.call('ZADD', KEY.jobs, NOW, id)
  end
  return 'located'
end

local function store(id, _, _, record)
  finish(id, 'active', 'stored', ttl_s, record)
  return 'stored'
end

local function fail(id)
  finish(id, 'active', 'failed', ttl_s)
  return 'failed'
end

local function retry(id, key, settlement)
  note_try(key, args.node, settlement.retry.kind, settlement.retry.error)
  return retry_or_fail(id, key, settlement.retry)
end

-- Let a publish wait for members again whose bytes are gone from ftrack: they are sent again.
local function reopen(id, key, settlement)
  leave_claim(id, redis.call('HGET', key, 'claim'))
  redis.call('HINCRBY', key, 'fence', 1)
  redis.call('HDEL', key, 'located')
  move(id, 'active', 'storing')
  for _, member in ipairs(settlement.retry.gone) do
    local member_key = upload_key(member)
    local state, host, score, size = unpack(redis.call('HMGET', member_key, 'state', 'host', 'score',
      'size'))
    redis.call('HDEL', member_key, 'stored', 'stored_seal', 'joined', 'joined_seal', 'shown')
    redis.call('SADD', KEY.left .. id, member)
    redis.call('HINCRBY', key, 'sent', -(tonumber(size or '') or 0))
    if state == 'stored' then
      forget_tries(member)
      redis.call('PERSIST', member_key)
      make_pending(member, state, host or '', score or NOW * 1000)
    end
  end
  return 'storing'
end

local OUTCOMES = {
  advanced = advance, pending = put_back, located = locate, stored = store, failed = fail,
  retrying = retry, reopened = reopen,
}

-- The store gets the files of a publish one by one, whatever ftrack says about it.
local function note_publish(id, retry)
  local publish = retry.gate ~= 'store' and redis.call('HGET', upload_key(id), 'publish') or nil
  local call = retry.strike or id
  publish_of[id] = publish
  if call_of_publish[call] == nil then
    call_of_publish[call] = publish or false
  elseif call_of_publish[call] ~= publish then
    call_of_publish[call] = false
  end
end

-- The uploads of a settlement are in the same stage, on the same node.
local function count_answers(first)
  failing = 0
  for _, settlement in ipairs(args.settlements) do
    local retry = settlement.outcome == 'retrying' and settlement.retry
    if retry and retry.gate ~= '' then
      failing = failing + 1
      note_publish(settlement.id, retry)
    end
  end
  if failing > 0 or args.passed > 0 then
    local stage, node = unpack(redis.call('HMGET', upload_key(first.id), 'stage', 'worker'))
    note_answers(stage or '', node or '', args.passed, failing)
  end
end

-- There is no such key. A full Redis refuses what needs room until a script has removed something.
redis.call('DEL', KEY.claim)
for _, service in ipairs(args.answered) do
  attempt('', open_gate, service)
end
attempt('', count_answers, args.settlements[1])

-- What was done well here, of uploads that all nodes see. A publish needs no file.
local SUCCESS = { advanced = true, stored = true, located = true }
local succeeded_at

-- The fields of a record on which its settlement depends.
local READ = { 'state', 'fence', 'stage', 'component', 'tried', 'error', 'retry_stage', 'stored',
  'seen', unpack(ENDING) }

local function settle(settlement)
  local id, fields = settlement.id, settlement.fields
  local key = upload_key(id)
  local record = read_fields(key, READ)
  local is_ours = record.state == 'active' and tonumber(record.fence) == settlement.fence
  local has_sent = not is_ours or sends_bytes(tonumber(record.stage), record, args.large_bytes)
  -- What may still run, may still send.
  if has_sent and not (type(settlement.retry) == 'table' and settlement.retry.is_running) then
    end_put(record.component, id, settlement.fence)
  end
  if not is_ours then
    return 'lost'
  end
  local deliveries, is_success = 'deliveries:' .. record.stage, SUCCESS[settlement.outcome]
  if not is_success then
    redis.call('HDEL', key, deliveries)
  end
  if is_success and record.host == '' and not record.total then
    succeeded_at = tonumber(record.stage)
    if record.tried and type(settlement.retry) == 'table' and settlement.retry.differs then
      -- It has changed: those that said so before were right.
      note_failed_by_all(id, cjson.decode(record.tried))
      redis.call('HDEL', key, 'tried')
    elseif record.tried then
      note_managed(id, record, args.node, succeeded_at)
    end
  end
  count_stored(id, fields, record)
  if settlement.outcome == 'advanced' then
    fields.done, fields[deliveries] = record.stage, 0
  elseif settlement.outcome == 'located' then
    fields.located = NOW
  end
  if has_stored(fields, record) then
    fields.seen = ''
  elseif fields.seen then
    fields.seen = NOW
  end
  record.seen = fields.seen or record.seen
  write_fields(key, fields)
  record.size = fields.size or record.size
  return OUTCOMES[settlement.outcome](id, key, settlement, record)
end

local rows = {}
for _, settlement in ipairs(args.settlements) do
  rows[#rows + 1] = { settlement.id, attempt(settlement.id, settle, settlement) or 'failed' }
end
if #gone_on > 0 then
  local key = KEY.claim .. args.into
  redis.call('ZADD', KEY.claims, claim_until(args.lease_s), args.into)
  redis.call('EXPIRE', key, args.claim_ttl_s)
  redis.call('SET', KEY.carried .. args.into, cjson.encode(gone_on), 'EX', 86400)
end
if succeeded_at then
  attempt('', note_success, args.node, succeeded_at)
end
return finish_script({ rows, complete_on })
