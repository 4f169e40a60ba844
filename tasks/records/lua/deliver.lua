-- Start a stage: take the uploads of a claim that are still its own, under a new fencing
-- number each. The first stage draws the claim; delivered again, it finds the same one.
-- ARGV: claim, stage number, worker, lease, host, max count, max bytes, claim ttl, record ttl,
--       max deliveries, bytes above which a file is large
-- Returns rows {id, fence, request, file, stored, size}; size is empty where it is not known.

local claim, stage, worker = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local large = tonumber(ARGV[11])
local lease, host = tonumber(ARGV[4]), ARGV[5]
local max_count, max_bytes = tonumber(ARGV[6]), tonumber(ARGV[7])
local claim_ttl, record_ttl, max_deliveries = ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])

local PUT_FILE = 3
local claim_key = P .. 'claim:' .. claim

-- A closed gate lets nothing through until its time; then one claim, as a probe. Gives the
-- gates that are to be probed, or nil when one is closed.
local function gates_to_probe()
  local half_open = {}
  for _, service in ipairs({ 'ftrack', 'store', 'credentials' }) do
    local gate = P .. 'gate:' .. service
    local closed, probed = unpack(redis.call('HMGET', gate, 'until', 'probed'))
    if (tonumber(closed or 0) > NOW) or (tonumber(probed or 0) > NOW) then
      return nil
    end
    if closed then
      half_open[#half_open + 1] = gate
    end
  end
  return half_open
end

local function draw(id)
  redis.call('ZREM', pending_key(host), id)
  if redis.call('HGET', upload_key(id), 'state') ~= 'pending' then
    return 0
  end
  move(id, 'pending', 'active')
  redis.call('HSET', upload_key(id), 'claim', claim, 'stage', 0, 'done', 0)
  redis.call('SADD', claim_key, id)
  return 1
end

local function draw_claim()
  local half_open = gates_to_probe()
  if not half_open then
    return
  end
  local bytes, drawn = 0, 0
  for _, id in ipairs(redis.call('ZRANGE', pending_key(host), 0, max_count - 1)) do
    local size, alone = unpack(redis.call('HMGET', upload_key(id), 'size', 'exclusive'))
    -- A large file is sent in parts, by a chain of its own; a publish has its own too.
    alone = alone or (tonumber(size) or 0) > large
    bytes = bytes + (tonumber(size) or 0)
    if drawn > 0 and (alone or bytes > max_bytes) then
      break
    end
    drawn = drawn + draw(id)
    if alone then
      break
    end
  end
  if drawn > 0 then
    for _, gate in ipairs(half_open) do
      redis.call('HSET', gate, 'probed', NOW + lease)
    end
  end
end

-- A batch that killed its worker twice is taken apart, so that only the upload that does
-- it goes on dying.
local function take(id, many)
  local key = upload_key(id)
  local state, owner, reached, done, own_host, score = unpack(redis.call('HMGET', key,
    'state', 'claim', 'stage', 'done', 'host', 'score'))
  if state ~= 'active' or owner ~= claim or tonumber(reached) > stage then
    return nil
  end
  -- A first stage that is delivered late draws a new batch under its old id; so may a later
  -- stage of the old batch be, and must not run before its turn.
  if tonumber(done or 0) < stage - 1 then
    return nil
  end
  -- Counted by stage, and set back when the stage has ended in some way.
  local deliveries = redis.call('HINCRBY', key, 'deliveries:' .. stage, 1)
  redis.call('HSET', key, 'stage', stage, 'worker', worker)
  if deliveries > 1 then
    count('redelivered')
  end
  if deliveries > max_deliveries then
    fail_killer(id, state, worker, max_deliveries, record_ttl)
    return nil
  end
  if deliveries > 2 and many then
    leave_claim(id, claim)
    -- This delivery is not carried out, so it can not kill a worker.
    redis.call('HINCRBY', key, 'deliveries:' .. stage, -1)
    redis.call('HSET', key, 'exclusive', 1)
    redis.call('HINCRBY', key, 'fence', 1)
    make_pending(id, state, own_host, score)
    return nil
  end
  local fence = redis.call('HINCRBY', key, 'fence', 1)
  -- The parts of a large file become its component's bytes in the last stage.
  local known_size, total = unpack(redis.call('HMGET', key, 'size', 'total'))
  local size = tonumber(known_size or '') or 0
  local puts = stage == PUT_FILE or (stage > PUT_FILE and (size > large or total))
  if puts and not may_put(id, fence, lease) then
    leave_claim(id, claim)
    move(id, state, 'retrying')
    redis.call('HSET', key, 'due', NOW + 2, 'retry_reason', 'older upload of the component')
    redis.call('ZADD', P .. 'retrying', NOW + 2, id)
    return nil
  end
  local request, file, stored, known = unpack(redis.call('HMGET', key, 'request', 'file',
    'stored', 'size'))
  return { id, fence, request or '', file or '', stored or '', known or '' }
end

if stage == 1 and redis.call('EXISTS', claim_key) == 0 then
  draw_claim()
end
local rows = {}
local ids = redis.call('SMEMBERS', claim_key)
for _, id in ipairs(ids) do
  local row = take(id, #ids > 1)
  if row then
    rows[#rows + 1] = row
  end
end
if #rows > 0 then
  redis.call('ZADD', P .. 'claims', NOW + 2 * lease, claim)
  redis.call('EXPIRE', claim_key, claim_ttl)
end
return rows
