-- What is noted of a node in KEY.paused or KEY.left_to_others: a JSON object, with its times as numbers.

-- Return a note, or nil. Anyone who can write to Redis may have put something else there: that counts
-- as no note, and is removed.
local function read_note(key, node)
  local text = redis.call('HGET', key, node)
  local ok, note = pcall(cjson.decode, text or '')
  if ok and type(note) == 'table' and type(note.since) == 'number' then
    return note
  end
  if text then
    redis.call('HDEL', key, node)
  end
end
