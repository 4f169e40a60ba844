-- Note that a worker is up, and whether it takes tasks. Forget those that have been silent, and what
-- somebody else has written for the future: uploads would be left to such a node for ever.
--
-- node          the worker
-- version       its version of farmhaul
-- takes_tasks   whether it takes tasks
-- is_local      whether these are of its own host alone (celery worker -Q farmhaul.HOST)
--
-- Returns {1 if the worker was not known, 1 if it is set aside, 1 if hooks have sent what a version
-- cannot read, who reconciles, for how many ms}.
-- The steps of an idle worker ask nothing else (workers/steps/pulse.py).
--- @include "base"

local function forget_silent(key, silent_s)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', NOW - silent_s)
  redis.call('ZREMRANGEBYSCORE', key, NOW + NODE.worker_s, '+inf')
  redis.call('EXPIRE', key, silent_s)
end

local is_new = redis.call('ZADD', KEY.alive, NOW, args.version .. ' ' .. args.node)
forget_silent(KEY.alive, NODE.worker_s)
local name, other = args.node, args.node .. NODE.is_local
if args.is_local then
  name, other = other, name
end
redis.call('ZREM', KEY.workers, other)
if args.takes_tasks then
  redis.call('ZADD', KEY.workers, NOW, name)
else
  redis.call('ZREM', KEY.workers, name)
end
forget_silent(KEY.workers, NODE.return_s)
return { is_new, redis.call('HEXISTS', KEY.paused, args.node), redis.call('EXISTS', KEY.unread),
  redis.call('GET', KEY.reconciler) or '', redis.call('PTTL', KEY.reconciler) }
