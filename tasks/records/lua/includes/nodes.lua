-- The nodes that take uploads which all nodes see: workers, by name. Each notes in KEY.workers that
-- it takes tasks (workers/health.py); those in KEY.paused are set aside.

local takers, takers_in_order

-- Whether a node takes what its own host alone sees.
local function is_local(name)
  return string.sub(name, -#NODE.is_local) == NODE.is_local
end

-- The names of these nodes, as keys of a table. Read once in a script, when it is first needed.
local function taking_nodes()
  if not takers then
    local found = {}
    local since = '(' .. string.format('%.3f', NOW - NODE.worker_s)
    -- What says that it will take tasks was written by somebody else.
    local latest = string.format('%.3f', NOW + NODE.worker_s)
    takers_in_order = redis.call('ZRANGEBYSCORE', KEY.workers, since, latest)
    for _, name in ipairs(takers_in_order) do
      found[name] = not is_local(name) or nil
    end
    for _, name in ipairs(redis.call('HKEYS', KEY.paused)) do
      found[name] = nil
    end
    -- At the end, so that they are read again once a broken key is repaired.
    takers = found
  end
  return takers
end

-- Return a node that takes uploads, and is not among those that have tried this one; or nil. Each time
-- it may be another one: the same one may be busy for long, or be gone.
local function untried_node(tried_by)
  local takes = taking_nodes()
  local count = #takers_in_order
  local first = math.floor(NOW * 1e6)
  for number = first, first + count - 1 do
    local name = takers_in_order[number % count + 1]
    if takes[name] and not tried_by[name] then
      return name
    end
  end
end

-- Return a node that took uploads until lately, has not tried this one, and may come back; or nil.
local function absent_node(node, tried_by)
  local from = string.format('%.3f', NOW - NODE.return_s)
  local to = string.format('%.3f', NOW - NODE.worker_s)
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEY.workers, from, to)) do
    local may_do_it = name ~= node and not is_local(name) and not tried_by[name]
    if may_do_it and redis.call('HEXISTS', KEY.paused, name) == 0 then
      return name
    end
  end
end

-- Return another node that an upload is left to, because this one has tried it; or nil. `tried` is
-- the field of its record: a JSON object, of what was wrong by the name of the node.
local function left_to(tried, node)
  local tried_by = tried and cjson.decode(tried) or {}
  return tried_by[node] and untried_node(tried_by)
end

-- What a node needs for each stage. What is wrong with it may keep it from some of them only.
local NEEDED = {
  files = { [STAGE.compute_checksum] = true, [STAGE.put_file] = true },
  locations = { [STAGE.get_put_metadata] = true, [STAGE.create_component_location] = true },
  -- In put_file, a node has ftrack sign again what it cannot open.
  ftrack = {
    [STAGE.get_put_metadata] = true,
    [STAGE.put_file] = true,
    [STAGE.create_component_location] = true,
  },
  store = { [STAGE.put_file] = true },
}
-- And its own code. Where that fails, it may fail in other stages, too: these are left to others.
for name, number in pairs(STAGE) do
  NEEDED[name] = { [number] = true }
end

-- Return another node that a stage is left to, because this one has failed at one of its uploads; or
-- nil. That one has failed at none of them: of two that have, each would leave it to the other, for ever.
-- `all_tried` are the fields of their records.
local function stage_left_to(all_tried, node, stage)
  local tried_by = {}
  for _, tried in ipairs(all_tried) do
    for name, what in pairs(cjson.decode(tried)) do
      local needed = NEEDED[what]
      tried_by[name] = tried_by[name] or not needed or needed[stage] or STAGE[what]
    end
  end
  return tried_by[node] and untried_node(tried_by)
end
