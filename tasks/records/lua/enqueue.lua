-- Write the records of uploads, and make them pending. Enqueueing a live upload again changes
-- nothing. One that is located becomes pending too: a worker asks ftrack whether it still is. So does
-- a stored member whose bytes are due for a look. A publish is `storing` until all of its members are
-- recorded and stored.
--
-- records   list of
--   id, component, request   the upload, its component, its sealed request
--   size        bytes; absent when nobody has looked at the file
--   score       of the pending upload, without its time: its priority, and whether it is a preview
--   host        the only node that sees the file, or empty
--   recheck     the file was not looked at: upload it again even if it was located
--   revive      an operator retries the upload
--   asked_at    when the upload was asked for, by the clock of the one who asked; absent means now
--   publish     the publish that this is a member of; absent for others
--   total       number of members of a publish; absent for others
--   places      list of {component, digests, replace}: where the files of its components lie; absent
--               for members, and for a component that is named by its id
--   compared    this node has compared its places with the files that its components hold
--   container   the sequence that this is a frame of; absent for others
--   found_by    {group, people, terms}: the hashes by which it is found; absent for members
--   asked_host  the host whose hook asked for it; absent if it is not known, and for members
-- ttl_s     how long the record of an ended upload is kept
-- index_s   how long the index has an upload after it was asked for last
-- node      the worker that takes in requests; absent for others
--
-- Returns a row for each record: {its state, 1 when it is new, the live uploads of other files that
-- it replaces ...}. In place of the state: `taken` if its components seem to hold other files, which
-- is to be compared; `left` if another node is to look at it. Nothing of these is recorded.
--- @include "base"
--- @include "counters"
--- @include "moves"
--- @include "notices"
--- @include "repair"
--- @include "endings"
--- @include "attempt"
--- @include "nodes"
--- @include "places"
--- @include "looks"
--- @include "index"

local ttl_s = args.ttl_s
-- A hook can name any number of hosts. The reconciler looks at each of them every second.
local MOST_OWN_HOSTS = 10000

-- Whether this very request was recorded before: a worker may die before it has removed the request
-- from the inbox. It may have ended since, and must neither start nor be sent again.
local function is_repeated(record, asked)
  return record.asked_at and tonumber(asked or '') == record.asked_at
end

-- Note in a stored member when a publish has made it visible: from then on, its bytes are stored only
-- as long as ftrack shows them.
local function note_shown(record)
  if record.shown then
    return
  end
  for publish in publishes_of(record.id) do
    local located = redis.call('HGET', upload_key(publish), 'located')
    if located then
      redis.call('HSET', record.key, 'shown', located)
      record.shown = located
      return
    end
  end
end

-- Have an upload that goes on follow a later request: it may name a location for the path.
local function renew_request(record)
  local is_later = record.asked_at and record.asked_at > (tonumber(record.asked or '') or 0)
  if is_later and redis.call('HGET', record.key, 'host') == record.host then
    redis.call('HSET', record.key, 'request', record.request, 'asked', record.asked_at)
  end
end

-- Add a member to its publish. Returns whether the member is already stored, and need not be looked at.
local function attach_to_publish(record)
  local id, key, publish = record.id, record.key, record.publish
  local publishes = publish
  if record.publishes then
    note_shown(record)
    for _, other in ipairs(waiting_publishes(id)) do
      publishes = other == publish and publishes or other .. ',' .. publishes
    end
  end
  redis.call('HSET', key, 'publish', publishes)
  record.publishes = publishes
  local is_new = redis.call('SADD', KEY.files .. publish, id) == 1
  local is_stored = record.state == 'stored' and record.current == id
  if is_stored and not record.recheck and not is_doubted(record) then
    redis.call('EXPIRE', key, ttl_s)
    renew_request(record)
    if is_new then
      redis.call('HINCRBY', upload_key(publish), 'sent', tonumber(record.size) or 0)
    end
    return true
  end
  redis.call('SADD', KEY.left .. publish, id)
  return false
end

local function is_complete(publish)
  local publish_state, complete = unpack(redis.call('HMGET', upload_key(publish), 'state',
    'complete'))
  return publish_state ~= 'storing' or complete, publish_state or ''
end

-- Add an upload to the search index. Nothing in there stops an upload.
local function make_findable(id, index)
  if pcall(add_to_index, id, index, args.index_s) then
    return
  end
  local group = KEY.group .. index.group
  repair_key(group, 'zset')
  redis.call('PERSIST', group) -- a group that may expire soon gets all its terms again
  for _, term in ipairs(index.terms) do
    repair_key(KEY.term .. term, 'zset')
  end
  for _, person in ipairs(index.people or {}) do
    repair_key(KEY.group .. person, 'zset')
  end
  pcall(add_to_index, id, index, args.index_s)
end

-- What `move` needs to know of the record.
local function of_record(record)
  return { publish = record.publishes }
end

-- Write what a new record says about an upload that ends at once.
local function write_ended(record)
  redis.call('HSET', record.key, 'component', record.component, 'request', record.request, 'size',
    record.size or '', 'host', record.host, 'claim', '', 'created', record.created or NOW, 'asked',
    record.asked_at or '')
  if record.total then
    redis.call('HSET', record.key, 'total', record.total)
  end
  redis.call('EXPIRE', record.key, ttl_s)
  make_findable(record.id, record.found_by)
end

-- Record an upload that a newer one has already superseded, as when a spool is sent late.
local function record_superseded(record, newer)
  write_ended(record)
  redis.call('HSET', record.key, 'error', 'superseded by ' .. newer)
  move(record.id, false, 'superseded', of_record(record))
end

local function supersede_older(record)
  local current = record.current
  local older = redis.call('HGET', upload_key(current), 'state')
  if older and LIVE[older] then
    redis.call('HSET', upload_key(current), 'error', 'superseded by ' .. record.id)
    finish(current, older, 'superseded', ttl_s)
  else
    leave_publishes(current, ttl_s)
  end
  -- The store holds, or may hold, the other file's bytes under this component.
  redis.call('HDEL', record.key, 'file', 'stored', 'stored_seal', 'joined', 'joined_seal', 'located',
    'shown')
end

local function append(list, words)
  for _, word in ipairs(words) do
    list[#list + 1] = word
  end
end

-- Write a record, and what its component says: `place_fields`, and who is the current upload.
local function write_record(record, asked_at, place_fields)
  local key = record.key
  local score = record.score + math.floor(NOW * 1000)
  if record.container then
    -- So a registration knows which frames of the sequence are of other files.
    local place = redis.call('HGET', KEY.component .. record.container, 'place')
    append(place_fields, { 'place', place or '' })
  end
  write_component(record.component, ttl_s, 'current', record.id, 'since', asked_at,
    unpack(place_fields))
  if record.state then
    forget_tries(record.id)
    redis.call('HDEL', key, 'error', 'error_kind', 'stage', 'worker')
    redis.call('PERSIST', key)
  end
  redis.call('HSET', key, 'component', record.component, 'request', record.request, 'size',
    record.size or '', 'score', score, 'host', record.host, 'claim', '', 'created',
    record.created or NOW, 'asked', record.asked_at or record.asked or '')
  make_findable(record.id, record.found_by)
  return score
end

local function enqueue(record)
  local id, key = record.id, upload_key(record.id)
  local state, asked, created, publishes, stored, located, shown, seen = unpack(redis.call('HMGET',
    key, 'state', 'asked', 'created', 'publish', 'stored', 'located', 'shown', 'seen'))
  local component = read_component(record.component)
  local current, current_since = component.current, component.since
  local has_newer = current and current ~= id
  record.asked_at = tonumber(record.asked_at)
  local is_repeat = is_repeated(record, asked)
  record.key, record.state, record.current = key, state, current
  record.asked, record.created, record.publishes = asked, created, publishes
  record.stored, record.located, record.shown, record.seen = stored, located, shown, seen
  record.recheck = record.recheck and not is_repeat

  if record.publish then
    local ended, publish_state = is_complete(record.publish)
    if ended then
      return { publish_state, 0 }
    end
    if attach_to_publish(record) then
      return { state, 0 }
    end
  end

  if state and LIVE[state] then
    renew_request(record)
    -- A publish that was not recorded to its end is continued.
    local is_open = state == 'storing' and redis.call('HEXISTS', key, 'complete') == 0
    return { state, is_open and 1 or 0 }
  end
  local places = record.places or {}
  if state and is_repeat and not record.publish then
    return { state, 0 }
  end
  if record.revive and was_refused(key) then
    return { state, 0 }
  end
  if record.revive and has_newer then
    -- Do not go back to the older file.
    if state == 'failed' then
      redis.call('HSET', key, 'error', 'superseded by ' .. current)
      move(id, state, 'superseded')
      state = 'superseded'
    end
    return { state, 0 }
  end

  if record.host ~= '' and redis.call('SCARD', KEY.hosts) >= MOST_OWN_HOSTS
    and redis.call('ZCARD', pending_key(record.host)) == 0 then
    if state then
      return { state, 0 }
    end
    write_ended(record)
    redis.call('HSET', key, 'error_kind', 'TooManyHosts', 'error', 'files of ' .. MOST_OWN_HOSTS
      .. ' hosts are pending already; cancel those of hosts that do not exist')
    move(id, state, 'failed')
    count('failed:TooManyHosts')
    notice_of_failure(id)
    return { 'failed', 0 }
  end
  -- By Redis' clock at the latest: a clock that is ahead would win until its time has come.
  local asked_at = math.min(record.asked_at or NOW, NOW)
  read_places(places, record.component, component)
  local taken = taken_place(places)
  if taken and not record.compared then
    return { 'taken', 0 }
  end
  if taken and is_left_to_another(id) then
    return { 'left', 0 }
  end
  if taken then
    write_ended(record)
    refuse(id, state, taken.component)
    return { 'failed', 0 }
  end
  -- A publish supersedes none, unless it replaces other files. If two publishes share members, each
  -- member decides for itself.
  local newer = later_holder(places, id, asked_at)
  if record.total == nil and has_newer and (tonumber(current_since or 0) or 0) > asked_at then
    newer = current
  end
  if newer then
    if not state then
      record_superseded(record, newer)
    end
    return { state or 'superseded', 0 }
  end
  local replaced, place_fields = {}, {}
  for _, place in ipairs(places) do
    local fields, ended = take_place(place, id, asked_at, ttl_s)
    replaced[#replaced + 1] = ended
    if place.component == record.component then
      append(place_fields, fields)
    else
      write_component(place.component, ttl_s, unpack(fields))
    end
  end
  if record.total == nil and has_newer then
    supersede_older(record)
  end

  local score = write_record(record, asked_at, place_fields)
  if record.total then
    redis.call('DEL', KEY.files .. id, KEY.left .. id, KEY.dropped .. id)
    redis.call('HDEL', key, 'complete')
    redis.call('HSET', key, 'total', record.total, 'sent', 0, 'places', cjson.encode(places))
    move(id, state, 'storing', of_record(record))
    redis.call('ZADD', KEY.open, NOW, id)
    return { 'storing', 1, unpack(replaced) }
  end
  if record.revive then
    redis.call('HDEL', key, 'seen')
  end
  make_pending(id, state, record.host, score, of_record(record))
  local is_for_a_look = state == 'located' or state == 'stored' and is_doubted(record)
  if not is_for_a_look or record.recheck then
    count('enqueued')
  end
  return { 'pending', 1, unpack(replaced) }
end

-- A hook names any host: the counters of those with the fewest uploads go.
local MOST_HOSTS = 5000

local rows, asked = {}, {}
for _, record in ipairs(args.records) do
  local row = attempt(record.id, enqueue, record) or { 'failed', 0 }
  rows[#rows + 1] = row
  if record.asked_host and row[2] == 1 then
    asked[record.asked_host] = (asked[record.asked_host] or 0) + 1
  end
end
if next(asked) then
  repair_key(KEY.asked, 'zset')
end
for host, uploads in pairs(asked) do
  redis.call('ZINCRBY', KEY.asked, uploads, host)
end
if next(asked) and redis.call('ZCARD', KEY.asked) > MOST_HOSTS then
  redis.call('ZREMRANGEBYRANK', KEY.asked, 0, -MOST_HOSTS - 1)
end
return finish_script(rows)
