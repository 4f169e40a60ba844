-- The bytes of parts that are under way. The parts record has them by run, the upload their sum, so
-- that its progress is sent + ahead. `sent` counts finished parts only.

local function set_ahead(id, run, bytes)
  local key, name = KEY.parts .. id, 'ahead:' .. run
  local before = tonumber(redis.call('HGET', key, name) or 0)
  if bytes ~= before then
    redis.call('HSET', key, name, bytes)
    redis.call('HINCRBY', upload_key(id), 'ahead', bytes - before)
  end
end

-- Forget them all, because the runs begin again.
local function forget_ahead(id)
  local key = KEY.parts .. id
  for _, name in ipairs(redis.call('HKEYS', key)) do
    if string.match(name, '^ahead:') then
      redis.call('HDEL', key, name)
    end
  end
  redis.call('HDEL', upload_key(id), 'ahead')
end
