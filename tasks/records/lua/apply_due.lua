-- Apply time-based changes: make due retries pending, fail publishes that were open for too long,
-- and remove expired uploads from the indexes. The reconciler runs this each second.
--
-- ttl_s          how long the record of an ended upload is kept
-- max_uploads    number of uploads to move
-- max_claims     number of overdue claims to return
-- open_s         how long a publish may stay open
-- max_hosts      number of hosts with pending uploads of their own to look at. If there are more, it
--                is each time others: anyone who can write to Redis can invent any number of them.
--
-- Returns {rows {host, number of pending uploads}, claims whose deadline has passed}.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "notices"
--- @include "repair"
--- @include "endings"
--- @include "attempt"

local function due_in(key, before)
  return redis.call('ZRANGEBYSCORE', key, '-inf', before, 'LIMIT', 0, args.max_uploads)
end

local function retry(id)
  redis.call('ZREM', KEY.retrying, id)
  local state, host, score = unpack(redis.call('HMGET', upload_key(id), 'state', 'host', 'score'))
  if state == 'retrying' then
    make_pending(id, state, host or '', score or NOW * 1000)
  end
end

local function fail_open(id)
  redis.call('ZREM', KEY.open, id)
  if is_storing(id) then
    redis.call('HSET', upload_key(id), 'error_kind', 'NotAllEnqueued', 'error', 'only '
      .. redis.call('SCARD', KEY.files .. id) .. ' of its '
      .. redis.call('HGET', upload_key(id), 'total')
      .. ' files were recorded, because its enqueue was interrupted; enqueue it again')
    finish(id, 'storing', 'failed', args.ttl_s)
  end
end

for _, id in ipairs(due_in(KEY.retrying, NOW)) do
  attempt(id, retry, id)
end
for _, id in ipairs(due_in(KEY.open, NOW - args.open_s)) do
  attempt(id, fail_open, id)
end

for state in pairs(ENDED) do
  for _, index in ipairs({ KEY.state, KEY.file_state }) do
    redis.call('ZREMRANGEBYSCORE', index .. state, '-inf', NOW - args.ttl_s)
  end
end

local pending = { { '', redis.call('ZCARD', KEY.pending) } }
for _, host in ipairs(redis.call('SRANDMEMBER', KEY.hosts, args.max_hosts)) do
  repair_key(pending_key(host), 'zset')
  local size = redis.call('ZCARD', pending_key(host))
  if size == 0 then
    redis.call('SREM', KEY.hosts, host)
  end
  pending[#pending + 1] = { host, size }
end
local overdue = redis.call('ZRANGEBYSCORE', KEY.claims, '-inf', NOW, 'LIMIT', 0, args.max_claims)
return finish_script({ pending, overdue })
