-- What has to happen without anybody asking: waiting uploads whose time has come are pending
-- again, publishes that nobody has closed fail, ended ones leave the index. Run each second by
-- one worker of the farm.
-- ARGV: record ttl, most uploads to move, most claims to name, how long a publish may be open
-- Returns {pending counts as rows {host, count}, claims whose deadline has passed}.

local record_ttl, most, most_claims = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local patience = tonumber(ARGV[4])

for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'retrying', '-inf', NOW, 'LIMIT', 0, most)) do
  redis.call('ZREM', P .. 'retrying', id)
  local state, host, score = unpack(redis.call('HMGET', upload_key(id), 'state', 'host', 'score'))
  if state == 'retrying' then
    make_pending(id, state, host, score)
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', OPEN, '-inf', NOW - patience, 'LIMIT', 0, most)) do
  redis.call('ZREM', OPEN, id)
  local key = upload_key(id)
  if redis.call('HGET', key, 'state') == 'storing' then
    redis.call('HSET', key, 'error_kind', 'NotAllEnqueued', 'error', 'only '
      .. redis.call('SCARD', files_key(id)) .. ' of its ' .. redis.call('HGET', key, 'total')
      .. ' files were recorded, as its enqueue did not end; enqueue it again')
    finish(id, 'storing', 'failed', record_ttl)
  end
end

for _, state in ipairs({ 'stored', 'located', 'failed', 'cancelled', 'superseded' }) do
  for _, index in ipairs({ 'state:', 'file:' }) do
    redis.call('ZREMRANGEBYSCORE', P .. index .. state, '-inf', NOW - record_ttl)
  end
end

local counts = { { '', redis.call('ZCARD', P .. 'pending') } }
for _, host in ipairs(redis.call('SMEMBERS', P .. 'hosts')) do
  local count = redis.call('ZCARD', pending_key(host))
  if count == 0 then
    redis.call('SREM', P .. 'hosts', host)
  end
  counts[#counts + 1] = { host, count }
end
local stale = redis.call('ZRANGEBYSCORE', P .. 'claims', '-inf', NOW, 'LIMIT', 0, most_claims)
return { counts, stale }
