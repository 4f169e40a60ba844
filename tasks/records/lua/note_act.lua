-- Note that somebody has retried or cancelled an upload, unless its record has expired meanwhile.
--
-- id     the upload
-- what   retried or cancelled
-- who    who did it; sealed, if records are
--- @include "base"

-- The latest that a page shows.
local ACTS_KEPT = 5

local key = upload_key(args.id)
if redis.call('EXISTS', key) == 0 then
  return false
end
local known, acts = pcall(cjson.decode, redis.call('HGET', key, 'acts') or '[]')
-- Anybody who can write to Redis can put anything there.
if not known or type(acts) ~= 'table' or type(acts[1]) ~= 'table' then
  acts = {}
end
acts[#acts + 1] = { NOW, args.what, args.who }
if #acts > ACTS_KEPT then
  table.remove(acts, 1)
end
redis.call('HSET', key, 'acts', cjson.encode(acts))
return true
