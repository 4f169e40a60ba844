-- Set a node aside that has found something wrong with itself, or let it go on. A node without others
-- goes on whatever is wrong: nobody else can do better.
--
-- node    the worker
-- fault   {what, kind, error}; absent if nothing is wrong
--
-- Returns its note, a JSON object, as long as it is set aside; false otherwise.
--- @include "base"
--- @include "nodes"
--- @include "notices"

local node = args.node
local note = redis.call('HGET', KEY.paused, node)
if note and cjson.decode(note).known and not args.fault then
  redis.call('HDEL', KEY.paused, node)
  notice_of_node('node_back', node, cjson.decode(note))
  note = false
end
if not untried_node({ [node] = true }) then
  if note then
    redis.call('HDEL', KEY.paused, node)
    notice_of_node('node_back', node, cjson.decode(note))
  end
  return false
end
if args.fault and not note then
  args.fault.since, args.fault.known = NOW, true
  note = cjson.encode(args.fault)
  redis.call('HSET', KEY.paused, node, note)
  notice_of_node('node_set_aside', node, args.fault)
end
if note then
  redis.call('EXPIRE', KEY.paused, 3600)
end
return note
