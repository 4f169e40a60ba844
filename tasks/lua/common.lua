-- What all scripts share: key names, the clock, and the moves between states.
--
-- Times are seconds of Redis' own clock, so that the clocks of farm nodes need not agree.

local P = 'farmhaul:'
local LIVE = { pending = true, active = true, waiting = true }

local function seconds()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local NOW = seconds()

local function upload_key(id)
  return P .. 'upload:' .. id
end

-- The ledger of a large file's parts.
local function parts_key(id)
  return P .. 'parts:' .. id
end

local function runs_key(id)
  return P .. 'runs:' .. id
end

local function pending_key(host)
  return host == '' and P .. 'pending' or P .. 'pending:' .. host
end

-- Move an upload to another state; `from` is the state it is in, or false for a new one.
local function move(id, from, to)
  if from then
    redis.call('ZREM', P .. 'state:' .. from, id)
  end
  redis.call('ZADD', P .. 'state:' .. to, NOW, id)
  redis.call('HSET', upload_key(id), 'state', to, 'updated', NOW)
end

-- Take an upload out of its claim; the claim is over when it has none left.
local function leave_claim(id, claim)
  if claim and claim ~= '' then
    redis.call('SREM', P .. 'claim:' .. claim, id)
    if redis.call('EXISTS', P .. 'claim:' .. claim) == 0 then
      redis.call('ZREM', P .. 'claims', claim)
    end
    redis.call('HSET', upload_key(id), 'claim', '')
  end
end

-- Put an upload where the next ring finds it.
local function make_pending(id, from, host, score)
  move(id, from, 'pending')
  redis.call('ZADD', pending_key(host), score, id)
  if host ~= '' then
    redis.call('SADD', P .. 'hosts', host)
  end
end

-- End an upload: whoever still works on it holds an old fencing number from now on.
local function finish(id, from, to, ttl)
  local key = upload_key(id)
  local claim, host = unpack(redis.call('HMGET', key, 'claim', 'host'))
  if from == 'pending' then
    redis.call('ZREM', pending_key(host or ''), id)
  elseif from == 'waiting' then
    redis.call('ZREM', P .. 'waiting', id)
  end
  leave_claim(id, claim)
  move(id, from, to)
  redis.call('HINCRBY', key, 'fence', 1)
  redis.call('HDEL', key, 'waiting_for', 'due', 'since', 'waits', 'waited_at', 'sent', 'alone')
  redis.call('EXPIRE', key, ttl)
  if to == 'located' then
    redis.call('DEL', parts_key(id), runs_key(id))
  end
end

-- Whether the upload is active under this fencing number.
local function is_ours(id, fence)
  local state, current = unpack(redis.call('HMGET', upload_key(id), 'state', 'fence'))
  return state == 'active' and tonumber(current) == fence
end

local function fail_killer(id, from, worker, times, ttl)
  redis.call('HSET', upload_key(id), 'error_kind', 'WorkerKilled', 'error',
    'it killed its worker ' .. times .. ' times (the last one was ' .. worker
    .. '); look at that worker\'s log and memory limit, then: farmhaul retry')
  finish(id, from, 'failed', ttl)
end

-- A newer upload of a component sends its bytes only when no older one still does: the last
-- PUT wins in the store. `putting` names who sends, and under which fencing number; a sender
-- that is silent for longer than the lease sends no more.
local function putting_key(id)
  return P .. 'component:' .. (redis.call('HGET', upload_key(id), 'component') or '')
end

local function is_putting(id, fence)
  local other, other_fence = unpack(redis.call('HMGET', putting_key(id), 'putting',
    'putting_fence'))
  return other == id and tonumber(other_fence) == fence
end

local function may_put(id, fence, lease)
  local key = putting_key(id)
  local other, until_ = unpack(redis.call('HMGET', key, 'putting', 'putting_until'))
  if other and other ~= id and tonumber(until_ or 0) > NOW then
    return false
  end
  redis.call('HSET', key, 'putting', id, 'putting_fence', fence, 'putting_until', NOW + lease)
  return true
end

local function end_put(id, fence)
  if is_putting(id, fence) then
    redis.call('HDEL', putting_key(id), 'putting', 'putting_fence', 'putting_until')
  end
end
