-- Take over a run of parts.
-- ARGV: id, fence, run, worker, max deliveries, record ttl
-- Returns request, file, sealed URLs, and the numbers of finished parts; nothing when the
-- upload is no longer this chain's.

local id, fence, run, worker = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if not is_ours(id, fence) then
  return {}
end
local key = upload_key(id)
redis.call('HSET', key, 'worker', worker)
if redis.call('HINCRBY', parts_key(id), 'deliveries:' .. run, 1) > tonumber(ARGV[5]) then
  fail_killer(id, 'active', worker, ARGV[5], tonumber(ARGV[6]))
  redis.call('HDEL', parts_key(id), 'deliveries:' .. run)
  return {}
end
local request, file = unpack(redis.call('HMGET', key, 'request', 'file'))
local row = { request, file, redis.call('HGET', parts_key(id), 'urls:' .. run) or '' }
for _, name in ipairs(redis.call('HKEYS', parts_key(id))) do
  local number = string.match(name, '^etag:(%d+)$')
  if number then
    row[#row + 1] = number
  end
end
return row
