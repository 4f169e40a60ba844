-- Repair what somebody else has broken: keys of another type, and the records of some uploads.
--
-- ids   the uploads
--
-- Returns the keys that had another type, of those of which there is one.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "repair"

local repaired = repair_keys()
for _, id in ipairs(args.ids) do
  repair_upload(id)
end
if #repaired > 0 then
  count('repaired', #repaired)
end
return finish_script(repaired)
