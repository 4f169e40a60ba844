-- Set a node aside that has found something wrong with itself, or let it go on. A node without others
-- goes on whatever is wrong: nobody else can do better.
--
-- node    the worker
-- fault   {what, kind, error}; absent if nothing is wrong
--
-- Returns its note, a JSON object, as long as it is set aside; false otherwise.
--- @include "base"
--- @include "nodes"
--- @include "notes"
--- @include "notices"

local node = args.node
local function let_go_on(note)
  redis.call('HDEL', KEY.paused, node)
  notice_of_node('node_back', node, note)
end

local note = read_note(KEY.paused, node)
if note and note.known and not args.fault then
  let_go_on(note)
  note = nil
end
if not untried_node({ [node] = true }) then
  if note then
    let_go_on(note)
  end
  return false
end
if args.fault and not note then
  note = args.fault
  note.since, note.known = NOW, true
  redis.call('HSET', KEY.paused, node, cjson.encode(note))
  notice_of_node('node_set_aside', node, note)
end
if note then
  redis.call('EXPIRE', KEY.paused, 3600)
end
return note and cjson.encode(note) or false
