-- Move entries that older versions could not read to those that are being taken in.
--
-- versions      the older versions
-- max_entries   number of entries
-- max_bytes     their size together; the entry that exceeds it is the last one
--
-- Returns the entries, the oldest of each version first.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "repair"

local entries, bytes = {}, 0
for _, version in ipairs(args.versions) do
  local kept = KEY.unread .. ':' .. version
  local left = size_of(redis.call('HGET', KEY.unread, version))
  repair_key(kept, 'list')
  while #entries < args.max_entries and bytes < args.max_bytes do
    local entry = redis.call('RPOP', kept)
    if not entry then
      break
    end
    redis.call('LPUSH', KEY.taking, entry)
    left = left - #entry
    entries[#entries + 1] = entry
    bytes = bytes + #entry
  end
  if redis.call('EXISTS', kept) == 0 then
    redis.call('HDEL', KEY.unread, version)
  else
    redis.call('HSET', KEY.unread, version, string.format('%.0f', math.max(left, 0)))
  end
end
return entries
