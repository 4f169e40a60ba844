-- End a run: the task that ends the last one joins the parts; delivered again it does so
-- again. ARGV: id, fence, run, task id
-- Returns {1 when this task joins, the next run or false}.

local id, fence, run, task = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if not is_ours(id, fence) then
  return { 0, false }
end
local key = parts_key(id)
redis.call('HDEL', key, 'deliveries:' .. run)
local done, total, joined = unpack(redis.call('HMGET', key, 'done', 'total', 'joined'))
if tonumber(done or 0) < tonumber(total or 1) then
  return { 0, redis.call('LPOP', runs_key(id)) }
end
if joined and joined ~= task then
  return { 0, false }
end
redis.call('HSET', key, 'joined', task)
return { 1, false }
