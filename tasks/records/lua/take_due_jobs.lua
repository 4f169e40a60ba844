-- Take the encoding jobs that ftrack must be asked about now, and schedule each for its next turn.
--
-- again_s   seconds until the next turn
-- max_jobs   number of jobs
--
-- Returns rows {upload id, job ids separated by commas, the version that they encode for, the
-- thumbnail that it got together with them, a worker's signature of both}; the last three may be
-- empty.
--- @include "base"

local rows = {}
local due = redis.call('ZRANGEBYSCORE', KEY.jobs, '-inf', NOW, 'LIMIT', 0, args.max_jobs)
for _, id in ipairs(due) do
  local jobs, version, thumbnail, seal = unpack(redis.call('HMGET', upload_key(id), 'jobs',
    'version', 'thumbnail', 'thumbnail_seal'))
  if jobs then
    redis.call('ZADD', KEY.jobs, NOW + args.again_s, id)
    rows[#rows + 1] = { id, jobs, version or '', thumbnail or '', seal or '' }
  else
    redis.call('ZREM', KEY.jobs, id)
  end
end
return rows
