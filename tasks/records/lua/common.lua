-- What all scripts share: key names, the clock, and the moves between states.
--
-- Times are seconds of Redis' own clock, so that the clocks of farm nodes need not agree.

local P = 'farmhaul:'
local LIVE = { pending = true, active = true, retrying = true, storing = true }

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

-- A publish: the files that it has, and those of them that are not stored yet.
local function files_key(id)
  return P .. 'files:' .. id
end

local function left_key(id)
  return P .. 'left:' .. id
end

-- The publishes that a file belongs to. They may be several: a sequence that is enqueued by
-- itself and with its movie.
local function publishes_of(id)
  return string.gmatch(redis.call('HGET', upload_key(id), 'publish') or '', '[^,]+')
end

local function is_storing(publish)
  return redis.call('HGET', upload_key(publish), 'state') == 'storing'
end

local function waiting_publishes(id)
  local found = {}
  for publish in publishes_of(id) do
    if is_storing(publish) then
      found[#found + 1] = publish
    end
  end
  return found
end

-- Publishes whose files are still being written, by when that began; `close` takes them out.
local OPEN = P .. 'open'

-- Lifetime counters, counted where the thing happens, so that they are exact whatever dies.
-- Written at the end of each script (tasks/records/scripts.py): for each upload, four commands would
-- make a settlement a third dearer.
local counted = {}

local function count(field, by)
  counted[field] = (counted[field] or 0) + (tonumber(by) or 1)
end

local function write_counts()
  for field, by in pairs(counted) do
    local command = field == 'seconds_sum' and 'HINCRBYFLOAT' or 'HINCRBY'
    redis.call(command, P .. 'totals', field, string.format(command == 'HINCRBY' and '%.0f'
      or '%.3f', by))
  end
end

-- How long it took from the enqueue: by powers of two of a second, up to 36 hours.
local function count_seconds(score)
  local took = math.max(NOW - (score % 5e12) / 1000, 0)
  local bound = 1
  while bound < took and bound < 131072 do
    bound = bound * 2
  end
  count('seconds:' .. (bound < took and '+Inf' or bound))
  count('seconds_sum', took)
end

-- Move an upload to another state; `from` is the state it is in, or false for a new one.
-- The files of a publish have an index of their own, so that people find uploads in theirs.
local function move(id, from, to)
  local index = redis.call('HEXISTS', upload_key(id), 'publish') == 1 and 'file:' or 'state:'
  if from then
    redis.call('ZREM', P .. index .. from, id)
  end
  redis.call('ZADD', P .. index .. to, NOW, id)
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

-- Let a publish become visible when all of its files are stored. A chain of its own does it.
local function publish_if_stored(id)
  local key = upload_key(id)
  local state, complete, host, score = unpack(redis.call('HMGET', key, 'state', 'complete',
    'host', 'score'))
  if state == 'storing' and complete and redis.call('EXISTS', left_key(id)) == 0 then
    redis.call('HSET', key, 'exclusive', 1)
    make_pending(id, state, host, score)
  end
end

local finish

-- Whether the component of an upload is to have a newer one.
local function is_outdated(id)
  local component = redis.call('HGET', upload_key(id), 'component') or ''
  local current = redis.call('HGET', P .. 'component:' .. component, 'current')
  return current and current ~= id
end

-- A publish whose file has a newer one does without; when it has none left, it is superseded.
local function do_without(publish, id, ttl)
  local key = upload_key(publish)
  local state = redis.call('HGET', key, 'state')
  if LIVE[state] and redis.call('SREM', files_key(publish), id) == 1 then
    redis.call('SREM', left_key(publish), id)
    if redis.call('HINCRBY', key, 'total', -1) > 0 then
      publish_if_stored(publish)
    else
      redis.call('HSET', key, 'error', 'all of its files have newer ones')
      finish(publish, state, 'superseded', ttl)
    end
  end
end

-- A newer file has taken the component over, in a publish of its own or alone.
local function leave_publishes(id, ttl)
  for publish in publishes_of(id) do
    do_without(publish, id, ttl)
  end
end

-- A file of publishes has ended: stored, or in a way that lets them fail.
local function tell_publishes(id, to, ttl)
  if to == 'superseded' then
    leave_publishes(id, ttl)
    return
  end
  for publish in publishes_of(id) do
    if to == 'stored' then
      if redis.call('SREM', left_key(publish), id) == 1 then
        local size = redis.call('HGET', upload_key(id), 'size')
        redis.call('HINCRBY', upload_key(publish), 'sent', tonumber(size or '') or 0)
      end
      publish_if_stored(publish)
    elseif is_storing(publish) then
      local error, kind = unpack(redis.call('HMGET', upload_key(id), 'error', 'error_kind'))
      redis.call('HSET', upload_key(publish), 'error', error or ('one of its files was ' .. to),
        'error_kind', kind or to)
      finish(publish, 'storing', 'failed', ttl)
    end
  end
end

-- End an upload: whoever still works on it holds an old fencing number from now on.
function finish(id, from, to, ttl)
  local key = upload_key(id)
  local claim, host, kind, size, score = unpack(redis.call('HMGET', key, 'claim', 'host',
    'error_kind', 'size', 'score'))
  if from == 'pending' then
    redis.call('ZREM', pending_key(host or ''), id)
  elseif from == 'retrying' then
    redis.call('ZREM', P .. 'retrying', id)
  elseif from == 'storing' then
    redis.call('ZREM', OPEN, id)
  end
  leave_claim(id, claim)
  move(id, from, to)
  redis.call('HINCRBY', key, 'fence', 1)
  redis.call('HDEL', key, 'retry_reason', 'due', 'since', 'retries', 'retry_stage', 'exclusive')
  redis.call('EXPIRE', key, ttl)
  if redis.call('HEXISTS', key, 'total') == 1 then
    redis.call('EXPIRE', files_key(id), ttl)
    redis.call('EXPIRE', left_key(id), ttl)
  else
    redis.call('HDEL', key, 'sent')
  end
  if to == 'located' or to == 'stored' then
    redis.call('DEL', parts_key(id), runs_key(id))
  end
  count(to == 'failed' and 'failed:' .. (kind or '') or to)
  if to == 'located' then
    count('located_bytes', tonumber(size or '') or 0)
    count_seconds(tonumber(score or '') or 0)
  end
  tell_publishes(id, to, ttl)
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
