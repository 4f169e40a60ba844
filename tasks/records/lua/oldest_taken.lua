-- Look at the oldest entries that are being taken in, and give those back whose worker has died.
--
-- A mark is the hash of the start of an entry, which has its signature or its random id.
--
-- overdue         the marks of entries that go back to the inbox
-- alone_returns   an entry that has come back so often is taken in alone. Workers count on from
--                 there, because only then is it clear which entry a worker has died of
-- max_returns     with this count an entry is refused
-- max_entries     number of entries to look at
-- max_bytes       their size together; the entry that exceeds it is the last one
--
-- Returns {how many have gone back, rows {mark, size in bytes} of the others, the beginnings of those
-- that are refused}.
--- @include "base"
--- @include "counters"

local RETURNED_S = 86400
-- Frames that nobody has looked at are a few bytes, and take as long as others: by so many bytes
-- each. Larger entries have the sizes of their frames.
local SMALL_BYTES, BYTES_A_FRAME, MAX_BYTES = 65536, 28, 16777216

local function weight(entry)
  local bytes = #entry
  if bytes <= SMALL_BYTES then
    for first, last in string.gmatch(entry, '"(%d+)%-(%d+)"') do
      local count = tonumber(last) - tonumber(first) + 1
      if count > 0 then -- numbers of hundreds of digits are infinite, and their difference is none
        bytes = bytes + count * BYTES_A_FRAME
      end
    end
  end
  return string.format('%.0f', math.min(bytes, MAX_BYTES))
end

local overdue = {}
for _, mark in ipairs(args.overdue) do
  overdue[mark] = true
end
local given_back, rows, refused, bytes = 0, {}, {}, 0
while #rows < args.max_entries and bytes < args.max_bytes do
  local entry = redis.call('LINDEX', KEY.taking, -1 - #rows)
  if not entry then
    break
  end
  local start = string.sub(entry, 1, 512)
  local mark = redis.sha1hex(start)
  if overdue[mark] then
    local returns = tonumber(redis.call('HGET', KEY.returned, mark) or 0)
    if not (returns and returns >= 0) then
      returns = 0 -- somebody else has written there
    end
    -- This is first, because it makes room: a full Redis then refuses nothing of the rest.
    redis.call('LREM', KEY.taking, -1, entry)
    if returns < args.alone_returns then
      redis.call('HSET', KEY.returned, mark, returns + 1)
    end
    if returns < args.max_returns then
      redis.call('LPUSH', KEY.inbox, entry)
      given_back = given_back + 1
    else
      redis.call('HDEL', KEY.returned, mark)
      refused[#refused + 1] = start
      count('refused_requests', 1)
    end
    redis.call('EXPIRE', KEY.returned, RETURNED_S)
  else
    rows[#rows + 1] = { mark, weight(entry) }
  end
  bytes = bytes + #entry
end
return finish_script({ given_back, rows, refused })
