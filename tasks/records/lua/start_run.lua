-- Take over a run of parts.
--
-- id, fence        the upload, and the fencing token of this delivery
-- run              the number of the run, from 0
-- worker           who takes it
-- max_deliveries   deliveries after which the file fails, because it kills its workers
-- ttl_s            how long the record of an ended upload is kept
--
-- Returns {request, file, id of the multipart upload, sealed URLs}; nothing when the upload is no
-- longer this delivery's; {the name of another node} when the run is left to that one.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "ahead"
--- @include "notices"
--- @include "repair"
--- @include "endings"
--- @include "attempt"
--- @include "nodes"
--- @include "notes"
--- @include "breaker"

local id, parts_key = args.id, KEY.parts .. args.id
if not is_ours(id, args.fence) then
  return {}
end
local key = upload_key(id)
-- A run that was not ended before its message came again has ended with its process.
local taken_by, times = unpack(redis.call('HMGET', parts_key, 'by:' .. args.run,
  'deliveries:' .. args.run))
if taken_by and (tonumber(times) or 0) > 0 then
  local began_at = redis.call('HGET', key, 'at:' .. STAGE.put_file)
  attempt(id, note_died, id, taken_by, STAGE.put_file, tonumber(began_at) or NOW)
end
local host, tried = unpack(redis.call('HMGET', key, 'host', 'tried'))
local other = host == '' and tried and stage_left_to({ tried }, args.worker, STAGE.put_file)
if other then
  return finish_script({ other })
end
redis.call('HSET', key, 'worker', args.worker)
redis.call('HSET', parts_key, 'by:' .. args.run, args.worker)
set_ahead(id, args.run, 0)
-- Deliveries without a part stored in between, by this run or another one: a file that makes progress
-- kills no worker.
local done = redis.call('HGET', parts_key, 'done') or '0'
if redis.call('HGET', parts_key, 'done_at:' .. args.run) ~= done then
  redis.call('HSET', parts_key, 'done_at:' .. args.run, done, 'deliveries:' .. args.run, 0)
end
local deliveries = redis.call('HINCRBY', parts_key, 'deliveries:' .. args.run, 1)
if deliveries > args.max_deliveries then
  fail_worker_killer(id, 'active', args.worker, args.max_deliveries, args.ttl_s)
  redis.call('HDEL', parts_key, 'deliveries:' .. args.run)
  return finish_script({})
end
local request, file = unpack(redis.call('HMGET', key, 'request', 'file'))
local multipart, urls = unpack(redis.call('HMGET', parts_key, 'multipart', 'urls:' .. args.run))
return finish_script({ request, file, multipart or '', urls or '' })
