-- The arguments of the script, the clock, and the names of keys.
--
-- KEY comes from tasks/records/keys.py. Times are seconds of Redis's clock, so that the clocks
-- of farm nodes need not agree.

local args = cjson.decode(ARGV[1])

local function seconds()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local NOW = seconds()

-- What a script does once for all of its uploads, when it returns (counters.lua): functions.
local at_end = {}

-- A lost message is noticed when nobody has renewed its claim for so long. A living worker does
-- so four times per lease.
local function claim_until(lease_s)
  return NOW + 0.75 * lease_s
end

local function upload_key(id)
  return KEY.upload .. id
end

-- Return these fields of a hash, by name; those that it lacks are nil, not false: a table of half of
-- them is filled faster.
local function read_fields(key, names)
  local fields = {}
  for number, value in ipairs(redis.call('HMGET', key, unpack(names))) do
    fields[names[number]] = value or nil
  end
  return fields
end

local function pending_key(host)
  return host == '' and KEY.pending or KEY.pending .. ':' .. host
end
