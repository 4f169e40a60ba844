-- Gates: circuit breakers, one for each service. A gate closes on what several different uploads on
-- different nodes meet, without a good answer in between. An upload that fails alone, while its
-- service answers others, closes none. Needs counters.lua and nodes.lua.
--
-- KEY.gate .. SERVICE holds the failures since the last good answer:
--   since             the first of them
--   struck:UPLOAD     the node on which this upload failed last; strikes: how many uploads these are
--   node:NODE         how many of them failed on this node; nodes: how many nodes these are
--   until, closed     when to probe the closed gate, and how often it has closed
--   fresh             when an upload that has not failed yet may probe it, although others wait
--   until:NODE, held  until and closed for a node that meets what no other node has met yet
--   probed, probe     until when the answer to a probe is awaited, and which upload it is
--
-- KEY.answers counts for each stage the uploads that its service answered (good:STAGE) and failed
-- (bad:STAGE). KEY.answers .. ':' .. NODE notes when this node last got a good answer in a stage.

-- Fewer may be chance.
local STRIKES = 3
local DAY_S = 86400
-- A few poison uploads of a farm with nothing else to do close a gate, too. An upload that has not
-- failed yet does not wait for as long as they do.
local FRESH_S = 10
-- No gate closes for longer. What says so was written by somebody else, and counts as nothing.
local LONGEST_S = 3600
-- A service that has failed for so long, without a good answer in between, was away. What answers some
-- of the time has too much to do: there, uploads wait out their backoff.
local AWAY_S = 10
-- How many retries are brought forward after an outage. While it lasts, most wait as pending.
local MOST_BROUGHT_FORWARD = 1000

-- Return a time that a gate holds.
local function held(time)
  time = tonumber(time or 0) or 0
  return time <= NOW + LONGEST_S and time or 0
end

local function is_closed(service)
  return held(redis.call('HGET', KEY.gate .. service, 'until')) > NOW
end

-- When the next probe is due: exponential backoff, counted in this field of the gate.
local function next_probe(gate, counter, retry)
  local times = redis.call('HINCRBY', gate, counter, 1)
  local backoff_s = math.min(retry.cap_s, retry.delay_s * 2 ^ math.min(times - 1, 30))
  return NOW + math.max(backoff_s * retry.jitter, retry.at_least_s)
end

-- The service has answered. After an outage, what waits for its retry because of it is due at once, so
-- that nobody waits for the backoff of an upload that was the probe. One that has failed alone waits.
local function open_gate(service)
  local is_hash, since = pcall(redis.call, 'HGET', KEY.gate .. service, 'since')
  redis.call('DEL', KEY.gate .. service)
  if not is_hash or not since or NOW - (tonumber(since) or NOW) < AWAY_S then
    return
  end
  for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', KEY.retrying, '+inf', '(' .. NOW, 'LIMIT', 0,
    MOST_BROUGHT_FORWARD)) do
    local failed, failed_alone = unpack(redis.call('HMGET', upload_key(id), 'failed', 'failed_alone'))
    local is_list, last = pcall(cjson.decode, failed or '[]')
    if is_list and type(last) == 'table' and last[5] == service and not failed_alone then
      redis.call('HSET', upload_key(id), 'due', NOW)
      redis.call('ZADD', KEY.retrying, NOW, id)
    end
  end
end

local function is_only_node(node)
  for name in pairs(taking_nodes()) do
    if name ~= node then
      return false
    end
  end
  return true
end

-- Note that an upload failed on a node because of its service. One stands for all those of a call.
local function strike_gate(service, id, node, retry)
  local gate = KEY.gate .. service
  redis.call('HSETNX', gate, 'since', NOW)
  redis.call('HSET', gate, 'fresh', NOW + math.max(FRESH_S, retry.at_least_s))
  redis.call('EXPIRE', gate, DAY_S)
  local struck_on = redis.call('HGET', gate, 'struck:' .. id)
  if not struck_on then
    redis.call('HINCRBY', gate, 'strikes', 1)
  end
  -- What one node has met, others may meet with the same uploads: these are the first in the queue.
  if struck_on ~= node then
    redis.call('HSET', gate, 'struck:' .. id, node)
    if redis.call('HINCRBY', gate, 'node:' .. node, 1) == 1 then
      redis.call('HINCRBY', gate, 'nodes', 1)
    end
  end
  local strikes, nodes, on_node, closed_until, held_until = unpack(redis.call('HMGET', gate,
    'strikes', 'nodes', 'node:' .. node, 'until', 'until:' .. node))
  if held(closed_until) > NOW or (tonumber(strikes) or 0) < STRIKES then
    return
  end
  if (tonumber(nodes) or 0) > 1 or is_only_node(node) then
    redis.call('HSET', gate, 'until', next_probe(gate, 'closed', retry))
    redis.call('HDEL', gate, 'probed')
    count('outages:' .. service)
  elseif (tonumber(on_node) or 0) >= STRIKES and held(held_until) <= NOW then
    redis.call('HSET', gate, 'until:' .. node, next_probe(gate, 'held', retry))
  end
end

-- A gate whose counts somebody else has written would never close: it begins again.
local function strike(service, id, node, retry)
  if not pcall(strike_gate, service, id, node, retry) then
    redis.call('DEL', KEY.gate .. service)
    strike_gate(service, id, node, retry)
  end
end

-- Return another node that a probe due at this time is left to for a while, or nil: several nodes may
-- be wrong, and the service up. One that has not failed yet shows more than one that has.
local function probe_left_to(gate, node, due_at)
  if NOW > due_at + FRESH_S or redis.call('HEXISTS', gate, 'node:' .. node) == 0 then
    return nil
  end
  local has_failed = setmetatable({}, { __index = function(_, name)
    return redis.call('HEXISTS', gate, 'node:' .. name) == 1
  end })
  return untried_node(has_failed)
end

-- Returns the gates that a claim of this node would probe, or nil if it may claim nothing; whether only
-- an upload that has not failed yet may be the probe; and whether the node has been held, and no node
-- has had a good answer since; and, if this node may claim nothing, the one that a probe is left to.
local function gates_to_probe(node, host)
  local to_probe, is_fresh, was_held = {}, false, false
  for _, service in ipairs(SERVICES) do
    local gate = KEY.gate .. service
    local closed_until, fresh_at, probed_until, held_until = unpack(redis.call('HMGET', gate, 'until',
      'fresh', 'probed', 'until:' .. node))
    local is_shut = held(closed_until) > NOW
    local latest = math.max(held(probed_until), held(held_until), is_shut and held(fresh_at) or 0)
    if latest > NOW or is_shut and not fresh_at then
      return nil
    end
    if closed_until then
      local due_at = is_shut and held(fresh_at) or held(closed_until)
      local other = host == '' and probe_left_to(gate, node, due_at)
      if other then
        return nil, false, false, other
      end
      to_probe[#to_probe + 1] = gate
    end
    is_fresh, was_held = is_fresh or is_shut, was_held or held_until
  end
  return to_probe, is_fresh, was_held
end

-- Whether an upload has failed since the last good answer of one of these gates' services.
local function was_struck(id, gates)
  for _, gate in ipairs(gates) do
    if redis.call('HEXISTS', gate, 'struck:' .. id) == 1 then
      return true
    end
  end
  return false
end

-- Note how many uploads of a stage its service has answered, and how many it has failed.
local function count_answer(field, by)
  if not pcall(redis.call, 'HINCRBY', KEY.answers, field, by) then
    -- Somebody else has written what is no number.
    redis.call('HSET', KEY.answers, field, by)
  end
end

local function note_answers(stage, node, good, bad)
  if good > 0 then
    count_answer('good:' .. stage, good)
    if redis.call('HSET', KEY.answers .. ':' .. node, stage, NOW) == 1 then
      redis.call('EXPIRE', KEY.answers .. ':' .. node, DAY_S)
    end
  end
  if bad > 0 then
    count_answer('bad:' .. stage, bad)
  end
end

-- Return a count; what is none was written by somebody else, and counts as nothing.
local function counted_answers(value)
  return string.match(value or '', '^%d+$') and tonumber(value) or 0
end

-- Whether an upload has failed again while its service answered others: this node too, and at least
-- two for each other one that failed. So it is neither an outage nor the node. `bad_now` are the
-- uploads that fail in this settlement.
local function fails_alone(key, service, stage, node, bad_now)
  local good, bad = unpack(redis.call('HMGET', KEY.answers, 'good:' .. stage, 'bad:' .. stage))
  good, bad = counted_answers(good), counted_answers(bad)
  local before = redis.call('HGET', key, 'failed')
  redis.call('HSET', key, 'failed', cjson.encode({ stage, good, bad, NOW, service }))
  if not before then
    return false, false
  end
  local old_stage, old_good, old_bad, at = unpack(cjson.decode(before))
  local passed, others = good - old_good, bad - old_bad - bad_now
  local answered_at = tonumber(redis.call('HGET', KEY.answers .. ':' .. node, stage) or 0)
  local is_answered = old_stage == stage and answered_at >= at
  return is_answered and passed >= 2 * others, is_answered and passed > 0
end
