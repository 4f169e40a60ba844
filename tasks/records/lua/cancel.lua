-- Stop an upload in any live state. A failed upload becomes cancelled too, so that nobody looks at
-- it again.
--
-- id          the upload
-- ttl_s       how long the record of an ended upload is kept
-- as_member   whether it is stopped as a member of a publish that was stopped: it goes on if
--             another publish waits for it
--
-- Returns the state that it has now; false when no record exists.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "endings"

local state = redis.call('HGET', upload_key(args.id), 'state')
if state and LIVE[state] and not (args.as_member and #waiting_publishes(args.id) > 0) then
  finish(args.id, state, 'cancelled', args.ttl_s)
  return finish_script('cancelled')
end
if state == 'failed' and not args.as_member then
  move(args.id, state, 'cancelled')
  return finish_script('cancelled')
end
return finish_script(state)
