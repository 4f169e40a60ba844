-- Lifetime counters. A script counts its own moves, so the counters stay exact when a process dies.
--
-- A script writes them once, when it returns: four commands for each upload would make a settlement
-- a third slower. So a script that counts or moves ends with `return finish_script(answer)`.

local counted = {}

local function count(field, by)
  counted[field] = (counted[field] or 0) + (tonumber(by) or 1)
end

-- Count the time since the enqueue: by powers of two of a second, up to 36 hours.
local function count_seconds(score)
  local took = math.max(NOW - (score % SCORE.preview_step) / 1000, 0)
  local bound = 1
  while bound < took and bound < 131072 do
    bound = bound * 2
  end
  count('seconds:' .. (bound < took and '+Inf' or bound))
  count('seconds_sum', took)
end

-- Write what the script has counted, do what is done once, and return its answer.
local function finish_script(answer)
  for _, act in ipairs(at_end) do
    act()
  end
  for field, by in pairs(counted) do
    local command, amount = 'HINCRBY', string.format('%.0f', by)
    if field == 'seconds_sum' then
      command, amount = 'HINCRBYFLOAT', string.format('%.3f', by)
    end
    local ok = pcall(redis.call, command, KEY.totals, field, amount)
    if not ok then
      -- Somebody else has written what is no number. The work is done: a count is not worth it.
      pcall(redis.call, 'HDEL', KEY.totals, field)
      pcall(redis.call, command, KEY.totals, field, amount)
    end
  end
  return answer
end
