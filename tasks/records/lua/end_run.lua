-- End a run of parts. The task that ends the last run hands the file on to the last stage, which
-- joins the parts. If that task is delivered again, it hands the file on again.
--
-- id, fence   the upload, and the fencing token of this delivery
-- run         the number of the run, from 0
-- task        the id of the Celery task
--
-- Returns {1 if this task ended the last run, the next run or false}.
--- @include "base"
--- @include "moves"

if not is_ours(args.id, args.fence) then
  return { 0, false }
end
local key = KEY.parts .. args.id
redis.call('HDEL', key, 'deliveries:' .. args.run, 'done_at:' .. args.run)
local finished, total, joined = unpack(redis.call('HMGET', key, 'done', 'total', 'joined'))
if tonumber(finished or 0) < tonumber(total or 1) then
  return { 0, redis.call('LPOP', KEY.runs .. args.id) }
end
if joined and joined ~= args.task then
  return { 0, false }
end
redis.call('HSET', key, 'joined', args.task)
return { 1, false }
