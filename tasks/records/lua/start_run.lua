-- Take over a run of parts.
--
-- id, fence        the upload, and the fencing token of this delivery
-- run              the number of the run, from 0
-- worker           who takes it
-- max_deliveries   deliveries after which the file fails, because it kills its workers
-- ttl_s            how long the record of an ended upload is kept
--
-- Returns {request, file, sealed URLs, the numbers of finished parts …}; nothing when the upload
-- is no longer this delivery's.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "endings"

local id, parts_key = args.id, KEY.parts .. args.id
if not is_ours(id, args.fence) then
  return {}
end
local key = upload_key(id)
redis.call('HSET', key, 'worker', args.worker)
local deliveries = redis.call('HINCRBY', parts_key, 'deliveries:' .. args.run, 1)
if deliveries > args.max_deliveries then
  fail_worker_killer(id, 'active', args.worker, args.max_deliveries, args.ttl_s)
  redis.call('HDEL', parts_key, 'deliveries:' .. args.run)
  return finish_script({})
end
local request, file = unpack(redis.call('HMGET', key, 'request', 'file'))
local row = { request, file, redis.call('HGET', parts_key, 'urls:' .. args.run) or '' }
for _, name in ipairs(redis.call('HKEYS', parts_key)) do
  local number = string.match(name, '^etag:(%d+)$')
  if number then
    row[#row + 1] = number
  end
end
return finish_script(row)
