-- Note the multipart upload of a large file, with the sealed URLs of its runs. Parts of another
-- multipart upload, or of another version of the file, are dropped.
--
-- id, fence   the upload, and the fencing token of this delivery
-- multipart   S3's id of the multipart upload
-- identity    the version of the file, and the size of its parts
-- urls        {urls:RUN = sealed URLs}
-- ttl_s       how long they are kept
--
-- Returns 1, or 0 when the upload is no longer this delivery's.
--- @include "base"
--- @include "moves"

if not is_ours(args.id, args.fence) then
  return 0
end
local key = KEY.parts .. args.id
local known, known_identity = unpack(redis.call('HMGET', key, 'multipart', 'identity'))
if known ~= args.multipart or known_identity ~= args.identity then
  redis.call('DEL', key, KEY.runs .. args.id)
  redis.call('HSET', upload_key(args.id), 'sent', 0)
  redis.call('HDEL', upload_key(args.id), 'joined', 'ahead')
end
redis.call('HSET', key, 'multipart', args.multipart, 'identity', args.identity)
redis.call('HDEL', key, 'expired')
for name, sealed in pairs(args.urls) do
  redis.call('HSET', key, name, sealed)
end
redis.call('EXPIRE', key, args.ttl_s)
return 1
