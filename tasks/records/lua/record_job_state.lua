-- Note the state that ftrack reports for an upload's encoding job.
--
-- id, state   the upload, and ftrack's state of the job
-- final       whether the state cannot change any more
--- @include "base"

local key = upload_key(args.id)
if redis.call('EXISTS', key) == 1 then
  redis.call('HSET', key, 'job_state', args.state)
end
if args.final then
  redis.call('ZREM', KEY.jobs, args.id)
end
