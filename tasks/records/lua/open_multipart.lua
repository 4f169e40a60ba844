-- Note the multipart upload of a large file, with the sealed URLs of its runs. Parts of
-- another multipart upload, or of another state of the file, are worth nothing.
-- ARGV: id, fence, multipart id, identity, ttl, JSON {urls:R = sealed}
-- Returns 1, or 0 when the upload is no longer this delivery's.

local id, fence, multipart, identity = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if not is_ours(id, fence) then
  return 0
end
local key = parts_key(id)
local known, known_identity = unpack(redis.call('HMGET', key, 'multipart', 'identity'))
if known ~= multipart or known_identity ~= identity then
  redis.call('DEL', key, runs_key(id))
  redis.call('HSET', upload_key(id), 'sent', 0)
end
redis.call('HSET', key, 'multipart', multipart, 'identity', identity)
redis.call('HDEL', key, 'expired')
for name, sealed in pairs(cjson.decode(ARGV[6])) do
  redis.call('HSET', key, name, sealed)
end
redis.call('EXPIRE', key, ARGV[5])
return 1
