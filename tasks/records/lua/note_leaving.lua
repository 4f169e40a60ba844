-- Note that a worker shuts down: it counts as gone from now on, and as a node that may come back.
--
-- node   the worker
--- @include "base"

for _, name in ipairs({ args.node, args.node .. NODE.is_local }) do
  redis.call('ZADD', KEY.workers, 'XX', NOW - NODE.worker_s, name)
end
