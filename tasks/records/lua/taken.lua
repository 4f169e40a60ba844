-- Remove entries from those that are being taken in.
--
-- ARGV[2] and so on are the entries, because bytes do not fit into JSON.
-- give_back   whether they go back to the inbox; then behind all others, so that they hold up none
-- refused     number of requests that were refused
--
-- Returns how many entries were removed.
--- @include "base"
--- @include "counters"

local removed = 0
for number = 2, #ARGV do
  -- It is missing if it was returned meanwhile, because this worker was slow.
  if redis.call('LREM', KEY.taking, -1, ARGV[number]) == 1 then
    removed = removed + 1
    if args.give_back then
      redis.call('LPUSH', KEY.inbox, ARGV[number])
    end
  end
end
if args.refused > 0 then
  count('refused_requests', args.refused)
end
return finish_script(removed)
