-- Which upload may send bytes to a component: one at a time, because the last PUT wins in the
-- store. A newer upload waits until the older one has stopped. `putting` names the sender,
-- `putting_fence` its fencing token. A sender that is silent for longer than the lease has stopped.

local function component_key_of(id)
  return KEY.component .. (redis.call('HGET', upload_key(id), 'component') or '')
end

local function is_putting(id, fence)
  local other, other_fence = unpack(redis.call('HMGET', component_key_of(id), 'putting',
    'putting_fence'))
  return other == id and tonumber(other_fence) == fence
end

local function may_put(id, fence, lease_s)
  local key = component_key_of(id)
  local other, until_ = unpack(redis.call('HMGET', key, 'putting', 'putting_until'))
  if other and other ~= id and tonumber(until_ or 0) > NOW then
    return false
  end
  redis.call('HSET', key, 'putting', id, 'putting_fence', fence, 'putting_until', NOW + lease_s)
  return true
end

local function end_put(id, fence)
  if is_putting(id, fence) then
    redis.call('HDEL', component_key_of(id), 'putting', 'putting_fence', 'putting_until')
  end
end
