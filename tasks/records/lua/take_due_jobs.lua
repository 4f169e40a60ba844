-- Take the encoding jobs that ftrack must be asked about now, and schedule each for its next turn.
--
-- again_s   seconds until the next turn
-- max_jobs   number of jobs
--
-- Returns rows {upload id, job ids separated by commas}.
--- @include "base"

local rows = {}
local due = redis.call('ZRANGEBYSCORE', KEY.jobs, '-inf', NOW, 'LIMIT', 0, args.max_jobs)
for _, id in ipairs(due) do
  local jobs = redis.call('HGET', upload_key(id), 'jobs')
  if jobs then
    redis.call('ZADD', KEY.jobs, NOW + args.again_s, id)
    rows[#rows + 1] = { id, jobs }
  else
    redis.call('ZREM', KEY.jobs, id)
  end
end
return rows
