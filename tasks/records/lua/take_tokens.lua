-- Draw from a bucket that the whole farm shares: bytes to send, or API calls.
-- ARGV: bucket, rate a second, amount, seconds of burst
-- Returns, as text, the seconds to wait before the amount may be used.
--
-- The bucket is one moment: until when all that was drawn keeps the farm busy. Who draws waits
-- until it has come, and moves it on for those who draw later.

local key, rate, amount = P .. 'bucket:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local busy_until = math.max(tonumber(redis.call('GET', key) or 0), NOW - tonumber(ARGV[4]))
redis.call('SET', key, string.format('%.6f', busy_until + amount / rate), 'EX', 3600)
return string.format('%.6f', math.max(busy_until - NOW, 0))
