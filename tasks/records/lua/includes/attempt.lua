-- Acting on an upload whose record somebody else may have broken: it is repaired, and what cannot be
-- repaired fails alone. Needs repair.lua and endings.lua, and the argument ttl_s.

-- The errors that are no fault of a record; those of a user who may not do something are apart.
local OTHERS = { 'OOM', 'MISCONF', 'READONLY', 'NOREPLICAS', 'LOADING', 'MASTERDOWN', 'killed' }
local DENIED = { 'NOPERM', "can't run this command", "can't access", 'permissions' }

local function text_of(problem)
  return type(problem) == 'table' and problem.err or tostring(problem)
end

local function has_one_of(words, problem)
  for _, word in ipairs(words) do
    if string.find(text_of(problem), word, 1, true) then
      return true
    end
  end
  return false
end

local function is_of_record(problem)
  return not has_one_of(OTHERS, problem) and not has_one_of(DENIED, problem)
end

-- Raise an error of Redis once more, so that the caller knows it by its first word.
local function raise(problem)
  error({ err = string.match(text_of(problem), '%u%u%u+ .*') or text_of(problem) })
end

-- Call a function. What is broken there too must not stop what comes after it.
local function try(act, ...)
  pcall(act, ...)
end

local function leave_indexes(id, key)
  local host, claim = unpack(redis.call('HMGET', key, 'host', 'claim'))
  local indexes = { KEY.pending, KEY.retrying, KEY.open, pending_key(host or '') }
  for _, state in ipairs({ 'pending', 'active', 'retrying', 'storing' }) do
    indexes[#indexes + 1] = KEY.state .. state
    indexes[#indexes + 1] = KEY.file_state .. state
  end
  for _, index in ipairs(indexes) do
    try(redis.call, 'ZREM', index, id)
  end
  try(leave_claim, id, claim)
end

-- Fail an upload whose record cannot be repaired, so that nothing meets it again. The new fencing
-- token locks out a worker that is still busy with it.
local function give_up(id, problem)
  local key = upload_key(id)
  leave_indexes(id, key)
  move(id, false, 'failed')
  try(redis.call, 'HINCRBY', key, 'fence', 1)
  redis.call('HSET', key, 'error_kind', 'RecordBroken', 'error',
    'its record in Redis is broken (' .. string.sub(text_of(problem), 1, 200)
    .. '); enqueue it again, and find out who else writes to Redis')
  for _, name in ipairs({ key, KEY.files .. id, KEY.left .. id, KEY.dropped .. id }) do
    redis.call('EXPIRE', name, args.ttl_s)
  end
  count('failed:RecordBroken')
  try(notice_of_failure, id)
  for publish in publishes_of(id) do
    try(inform_publish, publish, id, 'failed', args.ttl_s)
  end
end

-- Repair an upload, and what all uploads share. Returns whether that was done.
local function is_repaired(id)
  local ok, problem = pcall(repair_keys)
  if ok then
    ok, problem = pcall(repair_upload, id)
  end
  if not ok and has_one_of(DENIED, problem) then
    -- An operator may not repair. What the upload is worth is for a worker to decide.
    error({ err = 'RECORDBROKEN upload ' .. id .. ': ' .. text_of(problem) })
  elseif not ok and not is_of_record(problem) then
    raise(problem)
  end
  return ok
end

-- Act on an upload. If what Redis has of it is broken, repair that and act once more; if that does not
-- help, the upload fails. Then nothing is returned. An empty id stands for what is not of one upload.
local function attempt(id, act, ...)
  local ok, answer = pcall(act, ...)
  if ok then
    return answer
  elseif not is_of_record(answer) then
    raise(answer)
  end
  if is_repaired(id) then
    count('repaired')
    ok, answer = pcall(act, ...)
    if ok then
      return answer
    elseif not is_of_record(answer) then
      raise(answer)
    end
  end
  if id ~= '' then
    try(give_up, id, answer)
  end
end
