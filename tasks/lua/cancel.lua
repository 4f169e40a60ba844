-- Stop an upload, wherever it is. ARGV: id, record ttl. Returns the state it has then.

local id = ARGV[1]
local state = redis.call('HGET', upload_key(id), 'state')
if state and LIVE[state] then
  finish(id, state, 'cancelled', tonumber(ARGV[2]))
  return 'cancelled'
end
return state
