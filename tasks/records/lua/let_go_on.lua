-- Let a node that has just started take uploads again: somebody may have repaired what was wrong.
--
-- node   the worker
--- @include "base"
--- @include "notes"
--- @include "notices"

local note = read_note(KEY.paused, args.node)
if note then
  redis.call('HDEL', KEY.paused, args.node)
  redis.call('DEL', KEY.failing .. tostring(note.what) .. ':' .. args.node)
  notice_of_node('node_back', args.node, note)
end
redis.call('HDEL', KEY.left_to_others, args.node)
