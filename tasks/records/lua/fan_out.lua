-- Set out the runs of a large file's parts.
-- ARGV: id, fence, number of parts, ttl, JSON list of the runs that begin later
-- Returns 1, or 0 when the upload is no longer this delivery's.

local id, fence, total, ttl = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if not is_ours(id, fence) then
  return 0
end
redis.call('HSET', parts_key(id), 'total', total)
redis.call('HDEL', parts_key(id), 'joined')
redis.call('DEL', runs_key(id))
for _, run in ipairs(cjson.decode(ARGV[5])) do
  redis.call('RPUSH', runs_key(id), run)
end
redis.call('EXPIRE', runs_key(id), ttl)
return 1
