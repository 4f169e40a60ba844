-- Move entries from the inbox to those that are being taken in, the oldest first.
--
-- max_entries   number of entries
-- max_bytes     their size together; the entry that exceeds it is the last one
--
-- Returns the entries.
--- @include "base"

local entries, bytes = {}, 0
while #entries < args.max_entries and bytes < args.max_bytes do
  -- RPOP and LPUSH, because a full Redis refuses LMOVE. It does not refuse LPUSH here, because the
  -- script has made room before.
  local entry = redis.call('RPOP', KEY.inbox)
  if not entry then
    break
  end
  redis.call('LPUSH', KEY.taking, entry)
  entries[#entries + 1] = entry
  bytes = bytes + #entry
end
return entries
