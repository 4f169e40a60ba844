-- Note a finished part. ARGV: id, fence, part number, ETag, bytes
-- Returns 1, or 0 when the upload is no longer this chain's.

local id, fence, number, etag = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if not is_ours(id, fence) then
  return 0
end
if redis.call('HSETNX', parts_key(id), 'etag:' .. number, etag) == 1 then
  redis.call('HINCRBY', parts_key(id), 'done', 1)
  redis.call('HINCRBY', upload_key(id), 'sent', ARGV[5])
  count('stored_bytes', ARGV[5])
end
return 1
