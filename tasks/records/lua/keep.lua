-- Keep entries that are being taken in for workers of a newer version.
--
-- ARGV[2] and so on are the entries, because bytes do not fit into JSON.
-- version     the version that cannot read them
-- max_bytes   there is no room for an entry if all versions would keep more; nil: there is room
--
-- Returns the places, from 0, of those for which there is no room; they stay where they are.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "repair"

local kept = KEY.unread .. ':' .. args.version
local kept_bytes = size_of(redis.call('HGET', KEY.unread, args.version))
local bytes = 0
for _, size in ipairs(redis.call('HVALS', KEY.unread)) do
  bytes = bytes + size_of(size)
end
repair_key(kept, 'list')
local others, has_kept = {}, false
for number = 2, #ARGV do
  local entry = ARGV[number]
  if args.max_bytes and bytes + #entry > args.max_bytes then
    others[#others + 1] = number - 2
  -- It is missing if it was returned meanwhile, because this worker was slow.
  elseif redis.call('LREM', KEY.taking, -1, entry) == 1 then
    bytes = bytes + #entry
    redis.call('LPUSH', kept, entry)
    kept_bytes = kept_bytes + #entry
    has_kept = true
  end
end
if has_kept then
  redis.call('HSET', KEY.unread, args.version, string.format('%.0f', kept_bytes))
end
return others
