-- The circuit breaker of a node. A node that fails, one after the other, what other nodes manage is
-- set aside: it is noted in KEY.paused, and takes no uploads that all nodes see. Needs nodes.lua,
-- notes.lua, notices.lua, repair.lua and endings.lua.
--
-- KEY.failing .. WHAT:NODE holds the uploads that this node alone has failed since it last succeeded,
-- where WHAT is what may be wrong with it.
--
-- KEY.left_to_others notes the nodes that have left uploads to others, {what, error, kind, since, last,
-- count}: one that lacks one of two roots succeeds in between, so it is named, and goes on.

-- What that many nodes meet in calling a service needs no more of them.
local OUTAGE_NODES = 3
-- What so many nodes are refused is refused to all: a farm may have several with the same wrong user.
local VERDICT_NODES = 6
-- So many nodes may be wrong in the same way, before all may try again: a record names no more of them.
local MOST_ALIKE = 32

-- Fewer may be chance.
local FAILED_ALONE = 3
-- What was left to others longer ago may be repaired.
local LEFT_S = 900
-- How long it is remembered what a node alone has failed.
local FAILING_S = 3600
-- Redis counts the time that is left in other steps than its clock.
local CLOCK_S = 0.2

-- The kind of error of an upload on which a worker process has died.
local KILLED = 'WorkerKilled'

local STAGE_NAME = {}
for name, number in pairs(STAGE) do
  STAGE_NAME[number] = name
end

local function failing_key(what, node)
  return KEY.failing .. what .. ':' .. node
end

-- The same for those that somebody else may have given another type. To delete needs none.
local function failing_set(what, node)
  local key = failing_key(what, node)
  repair_key(key, 'set')
  return key
end

local function note_failed_alone(id, what, node)
  redis.call('SADD', failing_set(what, node), id)
  redis.call('EXPIRE', failing_key(what, node), FAILING_S)
end

-- An upload that no node can do is no sign against any of them.
local function note_failed_by_all(id, tried_by)
  for name, what in pairs(tried_by) do
    redis.call('SREM', failing_set(what, name), id)
  end
end

-- In an outage of a service, all nodes fail. That is no sign against those that failed first.
local function forget_failed_alone(service)
  for _, field in ipairs(redis.call('HKEYS', KEY.gate .. service)) do
    local node = string.match(field, '^node:(.+)$')
    if node then
      redis.call('DEL', failing_key(service, node))
    end
  end
end

-- The latest failures that a page shows; the error is sealed, if the record is.
local TRIES_KEPT = 8

local function note_try(key, node, kind, error)
  local stage, before = unpack(redis.call('HMGET', key, 'stage', 'log'))
  local tries = before and cjson.decode(before) or {}
  tries[#tries + 1] = { NOW, tonumber(stage), node, kind, error }
  if #tries > TRIES_KEPT then
    table.remove(tries, 1)
  end
  redis.call('HSET', key, 'log', cjson.encode(tries))
end

-- How many nodes have met an error of this kind lately.
local function nodes_that_met(key, kind)
  local nodes, count = {}, 0
  for _, try in ipairs(cjson.decode(redis.call('HGET', key, 'log') or '[]')) do
    if try[4] == kind and not nodes[try[3]] then
      nodes[try[3]] = true
      count = count + 1
    end
  end
  return count
end

-- Leave an upload to the nodes that have not tried it, because `own` may be wrong with `node`.
-- Returns whether they may try it without a try counted. If there are none, all may try it again.
-- `final` is the kind of an error that ends the upload: nodes that failed otherwise do not confirm it.
-- `strike` is the upload that stands for all those of one call: they are one sign against the node.
local function leave_to_others(id, key, node, own, final, strike)
  local host, tried = unpack(redis.call('HMGET', key, 'host', 'tried'))
  local names = tried and cjson.decode(tried) or {}
  names[node] = own
  local alike, is_service = 0, own == 'ftrack' or own == 'store'
  for _, what in pairs(names) do
    alike = alike + (what == own and 1 or 0)
  end
  local are_enough
  if final then
    are_enough = nodes_that_met(key, final) >= VERDICT_NODES
  else
    are_enough = alike >= OUTAGE_NODES
  end
  local is_bounded = is_service or STAGE[own]
  local are_others = host == '' and untried_node(names) and not (is_bounded and alike >= MOST_ALIKE)
  if are_others then
    redis.call('HSET', key, 'tried', cjson.encode(names))
  else
    redis.call('HDEL', key, 'tried')
  end
  if not are_others or is_service and are_enough then
    note_failed_by_all(id, names)
    return false
  end
  if (strike or id) == id then
    note_failed_alone(id, own, node)
  end
  return true
end

-- Note that a node has not ended what it began at `began_at`: a process of it has died, or was cut off
-- from Redis for as long as a lease. Then others try it first, as if its own code had failed. A node
-- that was shut off once has lost all that it had begun by then: that is one sign against it.
local function note_died(id, node, stage, began_at)
  local key, what = upload_key(id), STAGE_NAME[stage]
  local tried = redis.call('HGET', key, 'tried')
  if tried and cjson.decode(tried)[node] then
    return
  end
  local error = 'on ' .. node .. ': the worker process died or froze in ' .. what
    .. '; look at the log and the memory limit of that worker'
  note_try(key, node, KILLED, error)
  local noted_at = NOW + redis.call('PTTL', failing_key(what, node)) / 1000 - FAILING_S
  if leave_to_others(id, key, node, what, false, began_at > noted_at + CLOCK_S and id or '') then
    redis.call('HSETNX', key, 'since', NOW)
    redis.call('HSET', key, 'error', error, 'error_kind', KILLED, 'retry_stage', stage)
  end
end

local function fail_worker_killer(id, from, worker, times, ttl)
  local tried = redis.call('HGET', upload_key(id), 'tried')
  note_failed_by_all(id, tried and cjson.decode(tried) or {})
  redis.call('HSET', upload_key(id), 'error_kind', KILLED, 'error',
    'it killed its worker ' .. times .. ' times, most recently ' .. worker
    .. '; check the log and the memory limit of that worker, then run farmhaul retry')
  finish(id, from, 'failed', ttl)
end

local function note_left(name, note, failed_at)
  local before = read_note(KEY.left_to_others, name)
  local last = before and tonumber(before.last) or 0
  local has_died = note.kind == KILLED
  -- What died at once counts once.
  if has_died and failed_at <= last then
    return
  end
  local is_same = before and (before.what == note.what or has_died and before.kind == KILLED)
  if not is_same or NOW - last > LEFT_S then
    before = { since = NOW, count = 0 }
  end
  redis.call('HSET', KEY.left_to_others, name, cjson.encode({ what = note.what, error = note.error,
    kind = note.kind, since = before.since, last = NOW, count = (tonumber(before.count) or 0) + 1 }))
  redis.call('EXPIRE', KEY.left_to_others, 3600)
end

-- Return what an upload has met when it last failed on a node, in which stage, and when. The record's
-- own error may be that of another node.
local function last_failure(id, node)
  local log = redis.call('HGET', upload_key(id), 'log')
  local tries = log and cjson.decode(log) or {}
  for number = #tries, 1, -1 do
    local at, stage, by, kind, text = unpack(tries[number])
    if by == node then
      return { kind = kind, error = text }, tonumber(stage) or 0, tonumber(at) or 0
    end
  end
  return {}, 0, 0
end

-- Note that this node has done a stage at which others have failed: to pass an earlier one shows
-- nothing. The record says which stage, until that has been made good: there the upload is counted.
local function note_managed(id, record, node, stage)
  local is_made_good = record.retry_stage and stage >= tonumber(record.retry_stage)
  for name, what in pairs(cjson.decode(record.tried)) do
    local needed, failing = NEEDED[what], failing_set(what, name)
    local failure, failed_stage, failed_at = last_failure(id, name)
    if name ~= node and (not needed or needed[stage]) and stage >= failed_stage then
      local is_wrong = redis.call('SISMEMBER', failing, id) == 1
        and redis.call('SCARD', failing) >= FAILED_ALONE
      -- What a service failed may have been an outage.
      local is_left = is_made_good and (what == 'files' or what == 'records' or what == 'locations'
        or failure.kind == KILLED)
      failure.what, failure.since = what, NOW
      if is_wrong then
        if redis.call('HSETNX', KEY.paused, name, cjson.encode(failure)) == 1 then
          notice_of_node('node_set_aside', name, failure)
        end
        redis.call('EXPIRE', KEY.paused, 3600)
      end
      if is_left then
        note_left(name, failure, failed_at)
      end
    end
  end
end

-- Note that this node has succeeded at a stage. What it needs for it is not wrong, so it is not set
-- aside for that any more.
local function note_success(node, stage)
  local fine, keys = {}, {}
  for what, needed in pairs(NEEDED) do
    if needed[stage] then
      fine[what] = true
      keys[#keys + 1] = failing_key(what, node)
    end
  end
  redis.call('DEL', failing_key('records', node), unpack(keys))
  local note = read_note(KEY.paused, node)
  if note and not note.known and (fine[note.what] or note.what == 'records') then
    redis.call('HDEL', KEY.paused, node)
    notice_of_node('node_back', node, note)
  end
end
