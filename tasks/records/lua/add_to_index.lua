-- Let an upload be found by its terms for as long as one that was just asked for.
--
-- id         the upload
-- found_by   {group, people, terms}: the hashes by which it is found
-- index_s    how long the index has it
--- @include "base"
--- @include "index"

add_to_index(args.id, args.found_by, args.index_s)
