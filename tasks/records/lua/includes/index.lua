-- The search index: the uploads of a group, and the groups that have a term. Both are sorted by when
-- an upload of the group was asked for last, and expire with the last of them. What a host or a user
-- has asked for is a group, too.

-- The terms of a known group are written again this often.
local REFRESH_S = 3600
-- A term is trimmed by one of so many writes: each write would pay for it.
local TRIM_EACH = 16

local function trim(key, lives_s)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', NOW - lives_s)
end

local function add_to(key, member, lives_s)
  redis.call('ZADD', key, NOW, member)
  redis.call('EXPIRE', key, lives_s)
  -- A term that is always in use, such as the first folder of all paths, never expires as a whole.
  if math.floor(NOW * 1e6) % TRIM_EACH == 0 then
    trim(key, lives_s)
  end
end

-- What this script has written: its next entry there needs no look at how long it lives.
local indexed = {}

local function add_to_person(key, id, lives_s)
  redis.call('ZADD', key, NOW, id)
  if not indexed[key] and redis.call('TTL', key) <= lives_s - REFRESH_S then
    redis.call('EXPIRE', key, lives_s)
    trim(key, lives_s)
  end
  indexed[key] = true
end

-- `index` is {group, people, terms}, or nil for an upload that is found by another one.
local function add_to_index(id, index, lives_s)
  if not index then
    return
  end
  local key = KEY.group .. index.group
  if indexed[key] or redis.call('TTL', key) > lives_s - REFRESH_S then
    redis.call('ZADD', key, NOW, id)
  else
    trim(key, lives_s)
    add_to(key, id, lives_s)
    for _, term in ipairs(index.terms) do
      add_to(KEY.term .. term, index.group, lives_s)
    end
  end
  -- Each frame of a group may come from another host.
  for _, person in ipairs(index.people or {}) do
    add_to_person(KEY.group .. person, id, lives_s)
  end
  indexed[key] = true
end
