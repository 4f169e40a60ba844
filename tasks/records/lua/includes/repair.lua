-- What somebody else has broken. Anyone who can write to Redis can put anything into a record, or
-- under a key. It must stop neither the farm nor the uploads next to it: it is repaired where it is
-- met (attempt.lua). Needs moves.lua.

-- The fields of records that are numbers, with what replaces those that are none; false: nothing.
local NUMBERS = {
  stage = 0, done = 0, size = '', score = math.floor(NOW * 1000), updated = NOW, created = NOW,
  -- Above any fencing token that a worker may hold.
  fence = math.floor(NOW * 1000), sent = false, ahead = false, retries = false, since = false,
  failed_alone = false, rate = false, rate_at = false, rate_from = false, due = false,
  retry_stage = false, asked = false, located = false, putting_until = false, held_since = false,
  putting_fence = false, total = false, seen = false,
}
local LARGEST = 9007199254740992

-- Those that Redis counts in: it refuses 1.5, 1e3 and 0x10 there, which Lua reads as numbers.
local WHOLE = { stage = true, done = true, size = true, fence = true, sent = true, ahead = true,
  retries = true, failed_alone = true, retry_stage = true, total = true }

local function is_number(name, value)
  local number = tonumber(value)
  if value == '' then
    return name == 'size' or name == 'asked' or name == 'seen'
  end
  -- Times have a fraction; what has no name here is a counter.
  local is_whole = WHOLE[name] or NUMBERS[name] == nil
  if is_whole and not string.match(value, '^%-?%d+$') then
    return false
  end
  return number and number == number and math.abs(number) < LARGEST
end

-- Remove a key that has another type; farmhaul never makes one. Returns whether it had.
local function repair_key(key, kind)
  local found = redis.call('TYPE', key).ok
  if found == 'none' or found == kind then
    return false
  end
  redis.call('UNLINK', key)
  return true
end

-- Remove a text that would stay for ever: those of farmhaul and kombu expire within an hour, such as
-- locks. Returns whether it was removed.
local function repair_text(key, kind)
  if kind ~= 'string' then
    return false
  end
  local left_ms = redis.call('PTTL', key)
  if left_ms == -2 or left_ms >= 0 and left_ms <= 3600000 then
    return false
  end
  redis.call('UNLINK', key)
  return true
end

-- Returns a number of bytes, or 0 for what is none. The number is exact up to 15 digits.
local function size_of(text)
  return text and #text <= 15 and string.match(text, '^%d+$') and tonumber(text) or 0
end

-- Fix the index of what waits for newer versions: without its line a list would wait for ever.
-- Returns whether anything in it was wrong.
local function repair_unread(is_lost)
  local cursor, is_wrong = is_lost and '0', is_lost
  while cursor do
    local found = redis.call('SCAN', cursor, 'MATCH', KEY.unread .. ':*', 'COUNT', 1000)
    for _, list in ipairs(found[2]) do
      redis.call('HSET', KEY.unread, string.sub(list, #KEY.unread + 2), '')
    end
    cursor = found[1] ~= '0' and found[1]
  end
  for _, version in ipairs(redis.call('HKEYS', KEY.unread)) do
    local list = KEY.unread .. ':' .. version
    repair_key(list, 'list')
    local length, size = redis.call('LLEN', list), redis.call('HGET', KEY.unread, version)
    if length == 0 then
      redis.call('HDEL', KEY.unread, version)
      is_wrong = true
    elseif size ~= string.format('%.0f', size_of(size)) then
      local bytes = 0
      for first = 0, length - 1, 100 do
        for _, entry in ipairs(redis.call('LRANGE', list, first, first + 99)) do
          bytes = bytes + #entry
        end
      end
      redis.call('HSET', KEY.unread, version, string.format('%.0f', bytes))
      is_wrong = true
    end
  end
  return is_wrong
end

-- Returns the keys that held something else, of those of which there is one.
local function repair_keys()
  local repaired, is_lost = {}, false
  for key, kind in pairs(TYPES) do
    if repair_key(key, kind) or repair_text(key, kind) then
      repaired[#repaired + 1] = key
      is_lost = is_lost or key == KEY.unread
    end
  end
  if repair_unread(is_lost) and not is_lost then
    repaired[#repaired + 1] = KEY.unread
  end
  return repaired
end

local function is_json(value)
  local ok, found = pcall(cjson.decode, value)
  return ok and type(found) == 'table'
end

-- Remove or replace the fields of a hash that are not what they must be.
local function repair_fields(key)
  repair_key(key, 'hash')
  for _, name in ipairs(redis.call('HKEYS', key)) do
    local value = redis.call('HGET', key, name)
    local is_counter = string.match(name, '^tries:') or string.match(name, '^deliveries:')
      or string.match(name, '^ahead:') or string.match(name, '^done_at:')
    if (NUMBERS[name] ~= nil or is_counter) and not is_number(name, value) then
      if NUMBERS[name] then
        redis.call('HSET', key, name, NUMBERS[name])
      else
        redis.call('HDEL', key, name)
      end
    elseif name == 'tried' or name == 'failed'
      or (name == 'places' or name == 'log') and not is_json(value) then
      redis.call('HDEL', key, name)
    end
  end
end

local function repair_upload(id)
  local key = upload_key(id)
  repair_fields(key)
  repair_fields(KEY.parts .. id)
  repair_key(KEY.runs .. id, 'list')
  repair_key(KEY.files .. id, 'set')
  repair_key(KEY.left .. id, 'set')
  repair_key(KEY.dropped .. id, 'set')
  local component, claim, publishes, host = unpack(redis.call('HMGET', key, 'component', 'claim',
    'publish', 'host'))
  repair_key(pending_key(host or ''), 'zset')
  repair_fields(KEY.component .. (component or ''))
  repair_key(KEY.claim .. (claim or ''), 'set')
  for publish in string.gmatch(publishes or '', '[^,]+') do
    repair_fields(upload_key(publish))
    repair_key(KEY.files .. publish, 'set')
    repair_key(KEY.left .. publish, 'set')
    repair_key(KEY.dropped .. publish, 'set')
  end
  if redis.call('SCARD', KEY.files .. id) > 0 and redis.call('HEXISTS', key, 'total') == 0 then
    redis.call('HSET', key, 'total', redis.call('SCARD', KEY.files .. id))
  end
end
