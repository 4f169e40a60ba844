-- Note that a worker is up, and whether it takes tasks. Forget those that have been silent, and what
-- somebody else has written for the future: uploads would be left to such a node for ever.
--
-- node          the worker
-- version       its version of farmhaul
-- takes_tasks   whether it takes tasks
--
-- Returns 1.
--- @include "base"

local function forget_silent(key, silent_s)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', NOW - silent_s)
  redis.call('ZREMRANGEBYSCORE', key, NOW + NODE.worker_s, '+inf')
  redis.call('EXPIRE', key, silent_s)
end

redis.call('ZADD', KEY.alive, NOW, args.version .. ' ' .. args.node)
forget_silent(KEY.alive, NODE.worker_s)
if args.takes_tasks then
  redis.call('ZADD', KEY.workers, NOW, args.node)
else
  redis.call('ZREM', KEY.workers, args.node)
end
forget_silent(KEY.workers, NODE.return_s)
return 1
