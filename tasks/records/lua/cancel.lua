-- Stop an upload, in whatever state it is. A failed upload becomes cancelled too, so that nobody
-- looks at it again.
--
-- id        the upload
-- ttl_s     how long the record of an ended upload is kept
-- as_file   whether it is a file of a publish that was stopped; it goes on when another publish
--           waits for it
--
-- Returns the state that it has now; false when no record exists.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "endings"

local state = redis.call('HGET', upload_key(args.id), 'state')
if state and LIVE[state] and not (args.as_file and #waiting_publishes(args.id) > 0) then
  finish(args.id, state, 'cancelled', args.ttl_s)
  return done('cancelled')
end
if state == 'failed' and not args.as_file then
  move(args.id, state, 'cancelled')
  return done('cancelled')
end
return done(state)
