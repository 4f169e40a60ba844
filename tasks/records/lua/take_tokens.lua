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
-- caller waits until that time, and moves it forward for later callers. What was allocated at another
-- rate counts as it would at this one, so a limit that changes does so at once.
--- @include "base"

local key = KEY.bucket .. args.bucket
local LONGEST_S = 4000 -- nobody waits for so long; what says so was written by somebody else
local known, rate = unpack(redis.call('MGET', key, key .. ':rate'))
local ahead_s = (tonumber(known or 0) or 0) - NOW
rate = tonumber(rate or args.rate) or args.rate
if ahead_s > 0 then
  ahead_s = ahead_s * rate / args.rate
end
if not (ahead_s < LONGEST_S) then
  ahead_s = 0
end
-- A transfer that is to begin catches nothing up, because on an idle line several of them would
-- begin at once, and share it.
local allocated = math.max(NOW + ahead_s, args.if_free and NOW or NOW - args.burst_s)
local waiting = key .. ':waiting'
if args.held then
  local other = redis.call('GET', waiting)
  local left_s = redis.call('TTL', waiting)
  -- Who waits says so for a second; what stays for longer was written by somebody else.
  if other and other ~= args.process and left_s >= 0 and left_s <= 1 then
    return '-1'
  end
end
local wait_s = string.format('%.6f', math.max(allocated - NOW, 0))
if args.if_free and allocated > NOW then
  redis.call('SET', waiting, args.process, 'PX', 1000)
  return wait_s
end
redis.call('SET', key, string.format('%.6f', allocated + args.amount / args.rate), 'EX', 3600)
redis.call('SET', key .. ':rate', args.rate, 'EX', 3600)
return wait_s
