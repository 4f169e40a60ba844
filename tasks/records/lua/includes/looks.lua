-- Which files the store is to be asked for: ftrack shows a file as long as it has its location, and
-- does not notice when the store loses the bytes. Of a file that is asked for again, a worker looks at
-- most once in LOOK_S. `seen` is when a worker has looked at these bytes: without it, they are due.
local LOOK_S = 3600

-- `record` has the fields stored, located, shown and seen.
local function is_doubted(record)
  local is_shown = (record.located or '') ~= '' or (record.shown or '') ~= ''
  local age_s = NOW - (tonumber(record.seen or '') or 0)
  return is_shown and (record.stored or '') ~= '' and not (age_s >= 0 and age_s < LOOK_S)
end
