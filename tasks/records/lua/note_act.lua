-- Note that somebody has retried or cancelled an upload, unless its record has expired meanwhile.
--
-- id     the upload
-- what   retried or cancelled
-- who    who did it; sealed, if records are
-- kept   how many are kept, the latest ones
--- @include "base"

local key = upload_key(args.id)
if redis.call('EXISTS', key) == 0 then
  return false
end
local known, acts = pcall(cjson.decode, redis.call('HGET', key, 'acts') or '[]')
-- Anybody who can write to Redis can put anything there.
if not known or type(acts) ~= 'table' or type(acts[1]) ~= 'table' then
  acts = {}
end
local kept = {}
for place = math.max(#acts - args.kept + 2, 1), #acts do
  kept[#kept + 1] = acts[place]
end
local act = { NOW, args.what, args.who }
kept[#kept + 1] = act
-- What was read may have a number that cannot be written, such as 1e999.
local is_text, text = pcall(cjson.encode, kept)
redis.call('HSET', key, 'acts', is_text and text or cjson.encode({ act }))
return true
