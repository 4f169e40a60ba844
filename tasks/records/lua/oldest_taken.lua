-- Look at the oldest entries that are being taken in, and give those back whose worker has died.
--
-- A mark is the hash of the start of an entry, which has its signature or its random id.
--
-- overdue       the marks of entries that go back to the inbox
-- max_entries   number of entries to look at
-- max_bytes     their size together; the entry that exceeds it is the last one
--
-- Returns {how many have gone back, rows {mark, size in bytes} of the others}.
--- @include "base"

local overdue = {}
for _, mark in ipairs(args.overdue) do
  overdue[mark] = true
end
local given_back, rows, bytes = 0, {}, 0
while #rows < args.max_entries and bytes < args.max_bytes do
  local entry = redis.call('LINDEX', KEY.taking, -1 - #rows)
  if not entry then
    break
  end
  local mark = redis.sha1hex(string.sub(entry, 1, 512))
  if overdue[mark] then
    redis.call('LREM', KEY.taking, -1, entry)
    redis.call('LPUSH', KEY.inbox, entry)
    given_back = given_back + 1
  else
    rows[#rows + 1] = { mark, #entry }
  end
  bytes = bytes + #entry
end
return { given_back, rows }
