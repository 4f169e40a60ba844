-- Deliver a batch to a stage: the uploads of a claim that are still its own, each under a new
-- fencing token. (Deliver and settle are AMQP's words: a delivery is settled once.) The first
-- stage makes the claim; when it is delivered again, it finds the same claim.
--
-- claim, stage, worker   the claim, the number of the stage (from 1), who runs it
-- lease_s                seconds
-- host                   the host whose pending uploads are claimed; empty for those that all see
-- max_uploads, max_bytes bounds of a claim
-- claim_ttl_s, ttl_s     how long a forgotten claim, and the record of an ended upload, are kept
-- max_deliveries         deliveries after which an upload fails, because it kills its workers
-- large_bytes            a file above this size is sent in parts
--
-- Returns {rows {id, fence, request, file, stored, stored_seal, size, located, doubted, others_left},
-- hosts that need another wake-up}; size is empty when it is not known, and located when it never was;
-- doubted is 1 when the store is to be asked for the bytes; others_left is 1 when nodes are left that
-- may see the file as it was asked for. If a later stage is left to another node, or all that could be
-- claimed is, nothing is delivered, and the one row is {its name}.
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
--- @include "looks"

local claim, stage, host = args.claim, args.stage, args.host
-- How many pending uploads a claim looks at, to find one that this node has not tried. If there is
-- none, the next claim goes on from there, and for a while the node's claims begin there.
local MOST_SCANNED = 1000
local SCANNED_S = 10
-- What has failed since the last good answer is the worst probe, however seldom it has failed.
local STRUCK = 1e9
local claim_key = KEY.claim .. claim
-- The field that counts how often an upload was delivered to this stage.
local DELIVERIES = 'deliveries:' .. stage

-- The hosts that need another wake-up, because a batch was taken apart or a claim was cut short.
local to_wake = {}

-- The records of the claim's uploads, by id.
local found = {}

local function read(id)
  local record = read_fields(upload_key(id), { 'state', 'claim', 'fence', 'stage', 'done', 'host',
    'score', 'tried', 'component', 'total', 'request', 'file', 'stored', 'stored_seal', 'size',
    'located', 'shown', 'seen', 'exclusive', 'publish', DELIVERIES })
  if record.tried and not is_json(record.tried) then
    error('the field tried is not JSON')
  end
  return record
end

local function claim_one(id, record)
  move(id, 'pending', 'active', record, 'claim', claim, 'stage', 0, 'done', 0)
  record.state, record.claim, record.stage, record.done = 'active', claim, '0', '0'
  found[id] = record
end

-- A node that pending uploads are left to, because this one has tried them.
local other_node

-- What one host alone sees is left to nobody.
local function is_left(record)
  local other = host == '' and left_to(record.tried, args.worker)
  other_node = other or other_node
  return other
end

-- Claim a batch of these, of `most` uploads. Returns how many it has.
local function claim_some(ids, most)
  local bytes, is_full, claimed, not_pending = 0, false, {}, {}
  local alone, apart_with = '1', nil

  local function claim_next(id)
    local record = read(id)
    if is_left(record) then
      return
    end
    -- A large file is sent in parts, by a chain of its own. A publish has its own chain too.
    local size = tonumber(record.size) or 0
    local exclusive = size > args.large_bytes and alone or record.exclusive
    bytes = bytes + size
    local fits = #claimed == 0 or exclusive == apart_with and bytes <= args.max_bytes
    if #claimed >= most or not fits then
      is_full = true
      return
    end
    if record.state == 'pending' then
      claim_one(id, record)
      claimed[#claimed + 1] = id
      apart_with = exclusive
    else
      not_pending[#not_pending + 1] = id
    end
    is_full = exclusive == alone
  end

  for _, id in ipairs(ids) do
    attempt(id, claim_next, id)
    if is_full then
      break
    end
  end
  for _, some in ipairs({ claimed, not_pending }) do
    if #some > 0 then
      redis.call('ZREM', pending_key(host), unpack(some))
    end
  end
  if #claimed > 0 then
    redis.call('SADD', claim_key, unpack(claimed))
  end
  return #claimed
end

-- A node that is set aside tries one upload at a time, if it does not know that it is wrong.
local function most_uploads()
  local note = host == '' and read_note(KEY.paused, args.worker)
  if not note then
    return args.max_uploads
  end
  return note.known and 0 or 1
end

-- Where this node's claims begin. Somebody else may have written what is no place: it counts as none.
local function first_to_scan(scanned_key)
  local start = host == '' and redis.call('GET', scanned_key) or ''
  return string.match(start, '^%d%d?%d?%d?%d?%d?%d?%d?%d?$') and tonumber(start) or 0
end

-- Act on page after page of what is pending, until that returns true. Returns the place behind what
-- was looked at, if there may be more.
local function scan(scanned_key, act)
  local start = first_to_scan(scanned_key)
  for first = start, start + MOST_SCANNED - 1, args.max_uploads do
    local ids = redis.call('ZRANGE', pending_key(host), first, first + args.max_uploads - 1)
    if act(ids) then
      return nil
    end
    if #ids < args.max_uploads then
      redis.call('DEL', scanned_key)
      return nil
    end
  end
  return start + MOST_SCANNED
end

-- The more, the more likely an upload is to fail by its own fault, or at another service: then it is
-- no good probe. 0 if none of its tries has failed.
local function risk(id, record, to_probe)
  local failures = record.since and 1 + (tonumber(record.retries) or 0) or 0
  local is_struck = was_struck(id, to_probe) or was_struck(record.publish or id, to_probe)
  return failures + (is_struck and STRUCK or 0)
end

-- Claim one upload as a probe: that with the lowest risk, which must be none if it has to be fresh.
local function claim_probe(scanned_key, most, to_probe, is_fresh)
  local best, lowest

  local function compare(id)
    local record = read_fields(upload_key(id), { 'tried', 'since', 'retries', 'publish' })
    local own_risk = not is_left(record) and risk(id, record, to_probe)
    if own_risk and own_risk < (lowest or is_fresh and 1 or math.huge) then
      best, lowest = id, own_risk
    end
  end

  local behind = scan(scanned_key, function(ids)
    for _, id in ipairs(ids) do
      attempt(id, compare, id)
      if lowest == 0 then
        return true
      end
    end
  end)
  local claimed = claim_some({ best }, math.min(most, 1))
  if claimed > 0 then
    for _, gate in ipairs(to_probe) do
      redis.call('HSET', gate, 'probed', NOW + args.lease_s, 'probe', best)
    end
  elseif is_fresh then
    for _, gate in ipairs(to_probe) do
      redis.call('HSET', gate, 'fresh', NOW + FRESH_S) -- so many are not looked at each second
    end
  end
  return claimed, behind
end

local function claim_batch(scanned_key, most)
  local claimed = 0
  local behind = scan(scanned_key, function(ids)
    claimed = claim_some(ids, most)
    return claimed > 0
  end)
  -- Wake-ups are counted in full batches. Where one is less, the next wake-up comes from here.
  if claimed > 0 and claimed < args.max_uploads and redis.call('ZCARD', pending_key(host)) > 0 then
    to_wake[host] = true
  end
  return claimed, behind
end

local function claim_pending()
  local to_probe, is_fresh, was_held, other = gates_to_probe(args.worker, host)
  if not to_probe then
    other_node = other
    return
  end
  local scanned_key, most, claimed, behind = KEY.scanned .. args.worker, most_uploads(), nil, nil
  if #to_probe > 0 then
    claimed, behind = claim_probe(scanned_key, most, to_probe, is_fresh)
  else
    -- The delay may be short, and a whole batch would fail again.
    claimed, behind = claim_batch(scanned_key, was_held and math.min(most, 1) or most)
  end
  if claimed == 0 and behind then
    redis.call('SET', scanned_key, behind, 'EX', SCANNED_S)
    to_wake[host] = true
  end
end

local function requeue(id, record)
  leave_claim(id, claim)
  redis.call('HINCRBY', upload_key(id), 'fence', 1)
  make_pending(id, record.state, record.host, record.score)
  to_wake[record.host] = true
end

-- Make an upload pending again, in a batch of its own: its batch has killed its worker twice, and
-- this finds the culprit.
local function requeue_alone(id, key, record)
  requeue(id, record)
  -- This delivery is not carried out, so it cannot kill a worker.
  redis.call('HINCRBY', key, DELIVERIES, -1)
  redis.call('HSET', key, 'exclusive', 1)
end

-- Whether an upload is still in this batch, and has not begun a later stage.
local function is_to_be_done(record)
  return record.state == 'active' and record.claim == claim
    and (tonumber(record.stage) or STAGE.compute_checksum) <= stage
end

-- A delivery that was not settled before its message came again has ended with its process. Returns
-- the record.
local function note_last_delivery(id, record)
  local is_delivered = (tonumber(record[DELIVERIES]) or 0) > 0 and tonumber(record.stage) == stage
  if not is_delivered or not is_to_be_done(record) then
    return record
  end
  local node, chain, began_at = unpack(redis.call('HMGET', upload_key(id), 'worker', 'chain',
    'at:' .. stage))
  if node and chain == claim then
    note_died(id, node, stage, tonumber(began_at) or NOW)
    record.tried = redis.call('HGET', upload_key(id), 'tried')
  end
  return record
end

-- Return a node that this stage of a probe is left to, or nil.
local function stage_of_probe_left_to(found)
  for _, service in ipairs(SERVICES) do
    if (NEEDED[service] or NEEDED.ftrack)[stage] then
      local gate = KEY.gate .. service
      local probe, closed_until = unpack(redis.call('HMGET', gate, 'probe', 'until'))
      local record = found[probe] or {}
      if record.claim == claim and record.host == '' then
        local other = probe_left_to(gate, args.worker, held(closed_until))
        local tried_by = record.tried and cjson.decode(record.tried) or {}
        return not tried_by[other or ''] and other or nil
      end
    end
  end
end

-- Return a node that this stage of the batch is left to, because this node has failed; or nil.
local function batch_left_to(found)
  local all_tried = {}
  for _, record in pairs(found) do
    if record.tried and is_to_be_done(record) and record.host == '' then
      all_tried[#all_tried + 1] = record.tried
    end
  end
  return stage_of_probe_left_to(found) or stage_left_to(all_tried, args.worker, stage)
end

local function next_number(record, name)
  local number = record[name] or '0'
  if not is_number(name, number) then
    error('the field ' .. name .. ' is no number')
  end
  return math.floor(tonumber(number)) + 1
end

-- Whether nodes are left that may see a file as it was asked for. What so many see otherwise has
-- changed.
local MOST_ASKED = 6

local function are_others_left(record)
  if stage ~= STAGE.compute_checksum or record.host ~= '' then
    return false
  end
  local tried_by = record.tried and cjson.decode(record.tried) or {}
  local count = 0
  for _, what in pairs(tried_by) do
    count = count + (what == 'files' and 1 or 0)
  end
  tried_by[args.worker] = true
  return count < MOST_ASKED and untried_node(tried_by)
end

local function deliver(id, record, is_one_of_many)
  local key = upload_key(id)
  if record.state ~= 'active' or record.claim ~= claim or tonumber(record.stage) > stage then
    return nil
  end
  -- A first stage that is delivered late makes a new claim under its old id. A later stage of the
  -- old batch may be delivered too, and must not run before its turn.
  if tonumber(record.done or 0) < stage - 1 then
    return nil
  end
  -- Counted by stage, and set back when the stage has ended in some way.
  local deliveries, fence = next_number(record, DELIVERIES), next_number(record, 'fence')
  redis.call('HSET', key, 'stage', stage, 'worker', args.worker, 'chain', claim, 'at:' .. stage, NOW,
    DELIVERIES, deliveries, 'fence', fence)
  if deliveries > 1 then
    count('redelivered')
  end
  if deliveries > args.max_deliveries then
    fail_worker_killer(id, record.state, args.worker, args.max_deliveries, args.ttl_s)
    return nil
  end
  if deliveries > 2 and is_one_of_many then
    requeue_alone(id, key, record)
    return nil
  end
  if sends_bytes(stage, record, args.large_bytes)
    and not may_put(record.component, id, fence, args.lease_s) then
    leave_claim(id, claim)
    -- Not an error of this upload, so it counts no try and no delivery, and needs no backoff.
    redis.call('HINCRBY', key, DELIVERIES, -1)
    make_retrying(id, NOW + 2, 'older upload of the component')
    return nil
  end
  return { id, fence, record.request or '', record.file or '', record.stored or '',
    record.stored_seal or '', record.size or '', record.located or '',
    is_doubted(record) and '1' or '', are_others_left(record) and '1' or '' }
end

repair_key(claim_key, 'set')
repair_key(KEY.scanned .. args.worker, 'string')
local is_first = stage == 1 and redis.call('EXISTS', claim_key) == 0
if is_first then
  attempt('', claim_pending)
end
local ids = redis.call('SMEMBERS', claim_key)
if is_first and #ids > 0 then
  -- For Flower, whose tasks are of the last night: the claim forgets what has left it.
  redis.call('SET', KEY.carried .. claim, cjson.encode(ids), 'EX', 86400)
end
for _, id in ipairs(ids) do
  found[id] = found[id] or attempt(id, read, id) or {}
  found[id] = attempt(id, note_last_delivery, id, found[id]) or {}
end
local other = not is_first and batch_left_to(found)
if other and stage == STAGE.compute_checksum then
  for _, id in ipairs(ids) do
    if is_to_be_done(found[id]) then
      attempt(id, requeue, id, found[id])
    end
  end
  return finish_script({ { { other } }, {} })
elseif other then
  redis.call('ZADD', KEY.claims, claim_until(args.lease_s), claim)
  return finish_script({ { { other } }, {} })
end

local function deliver_one(id)
  local record = found[id] or read(id)
  found[id] = nil -- it is read again if it is repaired
  return deliver(id, record, #ids > 1)
end

local rows = {}
for _, id in ipairs(ids) do
  rows[#rows + 1] = attempt(id, deliver_one, id)
end
if #rows > 0 then
  redis.call('ZADD', KEY.claims, claim_until(args.lease_s), claim)
  redis.call('EXPIRE', claim_key, args.claim_ttl_s)
end
local hosts = {}
for own_host in pairs(to_wake) do
  hosts[#hosts + 1] = own_host
end
if is_first and #ids == 0 and other_node then
  rows = { { other_node } }
end
return finish_script({ rows, hosts })
