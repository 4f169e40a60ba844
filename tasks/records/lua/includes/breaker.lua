-- The circuit breaker of a node. A node that fails, one after the other, what other nodes manage is
-- set aside: it is noted in KEY.paused, and takes no uploads that all nodes see. Needs nodes.lua,
-- notes.lua, notices.lua and repair.lua.
--
-- KEY.failing .. WHAT:NODE holds the uploads that this node alone has failed since it last succeeded,
-- where WHAT is what may be wrong with it.

--
-- KEY.left_to_others notes the nodes that have left uploads to others, {what, error, kind, since, last,
-- count}: one that lacks one of two roots succeeds in between, so it is named, and goes on.

-- Fewer may be chance.
local FAILED_ALONE = 3
-- What was left to others longer ago may be repaired.
local LEFT_S = 900

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
  redis.call('EXPIRE', failing_key(what, node), 3600)
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

local function note_left(name, note)
  local before = read_note(KEY.left_to_others, name)
  local last = before and tonumber(before.last) or 0
  if not before or before.what ~= note.what or NOW - last > LEFT_S then
    before = { since = NOW, count = 0 }
  end
  redis.call('HSET', KEY.left_to_others, name, cjson.encode({ what = note.what, error = note.error,
    kind = note.kind, since = before.since, last = NOW, count = (tonumber(before.count) or 0) + 1 }))
  redis.call('EXPIRE', KEY.left_to_others, 3600)
end

-- Return what an upload has met when it last failed on a node, and in which stage. The record's own
-- error may be that of another node.
local function last_failure(id, node)
  local log = redis.call('HGET', upload_key(id), 'log')
  local tries = log and cjson.decode(log) or {}
  for number = #tries, 1, -1 do
    local _, stage, by, kind, text = unpack(tries[number])
    if by == node then
      return { kind = kind, error = text }, tonumber(stage) or 0
    end
  end
  return {}, 0
end

-- Note that this node has done a stage at which others have failed: to pass an earlier one shows
-- nothing. The record says which stage, until that has been made good: there the upload is counted.
local function note_managed(id, record, node, stage)
  local is_made_good = record.retry_stage and stage >= tonumber(record.retry_stage)
  for name, what in pairs(cjson.decode(record.tried)) do
    local needed, failing = NEEDED[what], failing_set(what, name)
    local failure, failed_stage = last_failure(id, name)
    if name ~= node and (not needed or needed[stage]) and stage >= failed_stage then
      local is_wrong = redis.call('SISMEMBER', failing, id) == 1
        and redis.call('SCARD', failing) >= FAILED_ALONE
      -- What a service failed may have been an outage.
      local is_left = is_made_good and (what == 'files' or what == 'records' or what == 'locations')
      failure.what, failure.since = what, NOW
      if is_wrong then
        if redis.call('HSETNX', KEY.paused, name, cjson.encode(failure)) == 1 then
          notice_of_node('node_set_aside', name, failure)
        end
        redis.call('EXPIRE', KEY.paused, 3600)
      end
      if is_left then
        note_left(name, failure)
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
