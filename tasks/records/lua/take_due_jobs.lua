-- Encoding jobs whose turn it is to be asked about; ARGV: seconds until they are again, most
-- Returns rows {upload id, comma-separated job ids}.

local again, most = tonumber(ARGV[1]), ARGV[2]
local rows = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'jobs', '-inf', NOW, 'LIMIT', 0, most)) do
  local jobs = redis.call('HGET', upload_key(id), 'jobs')
  if jobs then
    redis.call('ZADD', P .. 'jobs', NOW + again, id)
    rows[#rows + 1] = { id, jobs }
  else
    redis.call('ZREM', P .. 'jobs', id)
  end
end
return rows
