-- Places: where the files of a component lie, as digests in `place` of the component's record.
-- `holder` is the upload that was let in last, `held_since` when it was asked for. One place has
-- several digests if nodes map its path differently.

-- The fields of a component that are read before an upload takes it over.
local TAKEN_BY = { 'current', 'since', 'place', 'holder', 'held_since' }

local function read_component(component)
  return read_fields(KEY.component .. component, TAKEN_BY)
end

-- Let each place know what its component says, in `known`.
local function read_places(places, component, known)
  local read = component and { [component] = known } or {}
  for _, place in ipairs(places) do
    read[place.component] = read[place.component] or read_component(place.component)
    place.known = read[place.component]
  end
end

local function is_in(known, digests)
  for _, digest in ipairs(digests) do
    if string.find(known, digest, 1, true) then
      return true
    end
  end
  return known == ''
end

local function is_of_place(place)
  return is_in(place.known.place or '', place.digests)
end

-- Return the first place whose component holds other files, or nil.
local function other_place(places)
  read_places(places)
  for _, place in ipairs(places) do
    if not is_of_place(place) then
      return place
    end
  end
end

-- Return the first of them that must not be taken over, or nil.
local function taken_place(places)
  for _, place in ipairs(places) do
    if not (place.replace or is_of_place(place)) then
      return place
    end
  end
end

-- A place is taken if so many nodes say so, or all of them, or those that have looked at the request
-- within this time: some may lack an entry of FARMHAUL_PATH_MAP, as while it is being rolled out.
local REFUSING_NODES, LOOKS_S = 5, 10

-- Whether another node is to look at an upload first, because this one would refuse its place.
local function is_left_to_another(id)
  if not args.node then
    return false
  end
  local key, refused_by = KEY.place_refused .. id, {}
  repair_key(key, 'set')
  redis.call('SADD', key, args.node)
  local nodes, left_s = redis.call('SMEMBERS', key), redis.call('TTL', key)
  if left_s < 0 then
    left_s = 2 * LOOKS_S
    redis.call('EXPIRE', key, left_s)
  end
  for _, node in ipairs(nodes) do
    refused_by[node] = true
  end
  return #nodes < REFUSING_NODES and left_s > LOOKS_S and untried_node(refused_by)
end

local REFUSED = 'PlaceTaken'

-- Whether an upload was refused because of its place, even if it was cancelled since. A retry cannot
-- help it: of a sequence, not even the frames were recorded.
local function was_refused(key)
  return redis.call('HGET', key, 'error_kind') == REFUSED
end

-- Fail an upload at once, so that no worker ever claims it. Its record is written already.
local function refuse(id, state, component)
  local key = upload_key(id)
  local holder = redis.call('HGET', KEY.component .. component, 'holder') or ''
  redis.call('HSET', key, 'error_kind', REFUSED, 'error', 'component ' .. component ..
    ' holds other files (upload ' .. holder ..
    '); use another --name, --replace, or another version')
  move(id, state, 'failed')
  notice_of_failure(id)
  count('failed:' .. REFUSED)
end

-- Return the upload of other files that took over a component, and was asked for later, or nil.
local function later_holder(places, id, asked_at)
  for _, place in ipairs(places) do
    local holder, since = place.known.holder, place.known.held_since
    if holder and holder ~= id and tonumber(since or 0) > asked_at and not is_of_place(place) then
      return holder
    end
  end
end

-- Take a place. Returns the fields to write into the component's record, as a list, and the live
-- upload of other files that held the place and is superseded, or nil.
local function take_place(place, id, asked_at, ttl)
  local holder = place.known.holder
  local digests, fields, ended = place.known.place or '', {}, nil
  if not is_of_place(place) then
    digests, fields = '', { 'replaced', 1 }
    local state = redis.call('HGET', upload_key(holder), 'state')
    if holder ~= id and state and LIVE[state] then
      redis.call('HSET', upload_key(holder), 'error', 'superseded by ' .. id)
      finish(holder, state, 'superseded', ttl)
      ended = holder
    end
  end
  for _, digest in ipairs(place.digests) do
    if not string.find(digests, digest, 1, true) then
      digests = digests .. ' ' .. digest
    end
  end
  for name, value in pairs({ place = digests, holder = id, held_since = asked_at }) do
    place.known[name] = value
    fields[#fields + 1], fields[#fields + 2] = name, value
  end
  place.known = nil
  return fields, ended
end

local function write_component(component, ttl, ...)
  redis.call('HSET', KEY.component .. component, ...)
  redis.call('EXPIRE', KEY.component .. component, ttl)
end
