-- Stop an upload, wherever it is; one that has failed is struck off.
-- ARGV: id, record ttl, '1' for a file of a publish that was stopped, which goes on where another
-- publish waits for it. Returns the state it has then.

local id, as_file = ARGV[1], ARGV[3] == '1'
local state = redis.call('HGET', upload_key(id), 'state')
if state and LIVE[state] and not (as_file and #waiting_publishes(id) > 0) then
  finish(id, state, 'cancelled', tonumber(ARGV[2]))
  return 'cancelled'
end
if state == 'failed' and not as_file then
  move(id, state, 'cancelled')
  return 'cancelled'
end
return state
