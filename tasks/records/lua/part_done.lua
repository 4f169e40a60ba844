-- Note a finished part.
--
-- id, fence    the upload, and the fencing token of this delivery
-- number       the number of the part, from 1
-- etag, seal   the ETag in the store's response, and its signature (empty without a secret key)
-- size_bytes   the size of the part
-- run, ahead   its run, and the bytes of the run's other parts that are under way
--
-- Returns 1, or 0 when the upload is no longer this delivery's.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "nodes"
--- @include "notes"
--- @include "gates"
--- @include "ahead"

if not is_ours(args.id, args.fence) then
  return 0
end
-- The store has answered: nobody waits for the end of a large file to see that.
open_gate('store')
local key = KEY.parts .. args.id
-- An ETag that is there already is of the same bytes, or somebody has invented it.
local is_new = redis.call('HSETNX', key, 'etag:' .. args.number, args.etag) == 1
redis.call('HSET', key, 'etag:' .. args.number, args.etag, 'seal:' .. args.number, args.seal)
set_ahead(args.id, args.run, args.ahead)
if is_new then
  -- The file makes progress. At a low rate its URLs expire many times, which is no fault.
  redis.call('HDEL', upload_key(args.id), 'since', 'retries', 'failed_alone',
    'tries:UrlRefusedError')
  redis.call('HINCRBY', key, 'done', 1)
  redis.call('HINCRBY', upload_key(args.id), 'sent', args.size_bytes)
  count('stored_bytes', args.size_bytes)
end
return finish_script(1)
