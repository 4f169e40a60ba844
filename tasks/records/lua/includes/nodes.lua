-- The nodes that take uploads which all nodes see: workers, by name. Each notes in KEY.workers that
-- it takes tasks (workers/health.py); those in KEY.paused are set aside.

local takers

-- The names of these nodes, as keys of a table. Read once in a script, when it is first needed.
local function taking_nodes()
  if not takers then
    takers = {}
    local since = '(' .. string.format('%.3f', NOW - NODE.worker_s)
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEY.workers, since, '+inf')) do
      takers[name] = true
    end
    for _, name in ipairs(redis.call('HKEYS', KEY.paused)) do
      takers[name] = nil
    end
  end
  return takers
end

-- Whether a node has tried this upload, and another that takes uploads has not. `tried` is the field
-- of the upload's record: a JSON object with the names of the nodes.
local function is_left_to_others(tried, node)
  if not tried then
    return false
  end
  local names = cjson.decode(tried)
  if not names[node] then
    return false
  end
  for name in pairs(taking_nodes()) do
    if not names[name] then
      return true
    end
  end
  return false
end
