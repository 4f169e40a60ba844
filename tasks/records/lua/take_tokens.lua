-- Take tokens from a bucket that the whole farm shares: bytes to send, or API calls.
--
-- bucket, rate (tokens a second), amount, burst_s (seconds of unused rate that may be caught up)
--
-- Returns, as text, the seconds to wait before the tokens may be used.
--
-- The bucket is a single timestamp (GCRA): the time until which the rate is already booked. Who
-- takes tokens waits until that time, and moves it forward for those who come later.
--- @include "base"

local key = KEY.bucket .. args.bucket
local booked = math.max(tonumber(redis.call('GET', key) or 0), NOW - args.burst_s)
redis.call('SET', key, string.format('%.6f', booked + args.amount / args.rate), 'EX', 3600)
return string.format('%.6f', math.max(booked - NOW, 0))
