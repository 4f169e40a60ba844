-- Queue the runs of a large file's parts: note the runs that begin when others have ended. ETags
-- that the worker has refused are dropped, so that their parts count as missing.
--
-- id, fence   the upload, and the fencing token of this delivery
-- total       number of parts
-- finished    the numbers of the parts whose ETags are valid
-- later       the runs that begin when others have ended
-- ttl_s       how long the runs are kept
--
-- Returns 1, or 0 when the upload is no longer this delivery's.
--- @include "base"
--- @include "moves"
--- @include "ahead"

if not is_ours(args.id, args.fence) then
  return 0
end
local parts_key, runs_key = KEY.parts .. args.id, KEY.runs .. args.id
local is_finished = {}
for _, number in ipairs(args.finished) do
  is_finished[tostring(number)] = true
end
for _, name in ipairs(redis.call('HKEYS', parts_key)) do
  local number = string.match(name, '^etag:(.+)$')
  if number and not is_finished[number] then
    redis.call('HDEL', parts_key, name)
  end
end
redis.call('HSET', parts_key, 'total', args.total, 'done', #args.finished)
redis.call('HDEL', parts_key, 'joined')
redis.call('DEL', runs_key)
forget_ahead(args.id)
for _, run in ipairs(args.later) do
  redis.call('RPUSH', runs_key, run)
end
redis.call('EXPIRE', runs_key, args.ttl_s)
return 1
