-- Note what ftrack says of an upload's encoding. ARGV: id, job state, '1' when that is final

local key = upload_key(ARGV[1])
if redis.call('EXISTS', key) == 1 then
  redis.call('HSET', key, 'job_state', ARGV[2])
end
if ARGV[3] == '1' then
  redis.call('ZREM', P .. 'jobs', ARGV[1])
end
