-- Queue the runs of a large file's parts: note the runs that begin when others have ended.
--
-- id, fence   the upload, and the fencing token of this delivery
-- total       number of parts
-- later       the runs that begin when others have ended
-- ttl_s       how long the runs are kept
--
-- Returns 1, or 0 when the upload is no longer this delivery's.
--- @include "base"
--- @include "moves"

if not is_ours(args.id, args.fence) then
  return 0
end
local parts_key, runs_key = KEY.parts .. args.id, KEY.runs .. args.id
redis.call('HSET', parts_key, 'total', args.total)
redis.call('HDEL', parts_key, 'joined')
redis.call('DEL', runs_key)
for _, run in ipairs(args.later) do
  redis.call('RPUSH', runs_key, run)
end
redis.call('EXPIRE', runs_key, args.ttl_s)
return 1
