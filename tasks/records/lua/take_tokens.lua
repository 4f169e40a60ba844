-- Take tokens from a bucket that the whole farm shares: bytes to send, or API calls.
--
-- bucket, rate (tokens a second), amount, burst_s (seconds of unused rate that may be caught up)
-- if_free   true: take them only if there is nothing to wait for
-- process   who asks, for a transfer that is to begin
-- held      true: it has used the line for long, so another process that waits begins first
--
-- Returns, as text, the seconds to wait before the tokens may be used; -1: another one begins first.
--
-- The bucket is a single timestamp (GCRA): the time until which the rate is already allocated. A
-- caller waits until that time, and moves it forward for later callers.
--- @include "base"

local key = KEY.bucket .. args.bucket
local allocated = math.max(tonumber(redis.call('GET', key) or 0), NOW - args.burst_s)
local waiting = key .. ':waiting'
if args.held then
  local other = redis.call('GET', waiting)
  if other and other ~= args.process then
    return '-1'
  end
end
local wait_s = string.format('%.6f', math.max(allocated - NOW, 0))
if args.if_free and allocated > NOW then
  redis.call('SET', waiting, args.process, 'PX', 1000)
  return wait_s
end
redis.call('SET', key, string.format('%.6f', allocated + args.amount / args.rate), 'EX', 3600)
return wait_s
