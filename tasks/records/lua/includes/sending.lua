-- Which upload may send bytes to a component: one at a time, because the last PUT wins in the
-- store. A newer upload waits until the older one has stopped. `putting` names the sender,
-- `putting_fence` its fencing token. A sender that is silent for longer than the lease has stopped.

-- These take the component of the upload; false if it has none.

local function component_key(component)
  return KEY.component .. (component or '')
end

-- Whether a stage changes the component's bytes: it sends them, or makes a large file's parts, or a
-- publish's members, the component's bytes. `record` has the fields size and total.
local function sends_bytes(stage, record, large_bytes)
  local is_large = (tonumber(record.size or '') or 0) > large_bytes
  return stage == STAGE.put_file or (stage > STAGE.put_file and (is_large or record.total))
end

local function is_putting(component, id, fence)
  local other, other_fence = unpack(redis.call('HMGET', component_key(component), 'putting',
    'putting_fence'))
  return other == id and tonumber(other_fence) == fence
end

local function may_put(component, id, fence, lease_s)
  local key = component_key(component)
  local other, until_ = unpack(redis.call('HMGET', key, 'putting', 'putting_until'))
  if other and other ~= id and tonumber(until_ or 0) > NOW then
    return false
  end
  redis.call('HSET', key, 'putting', id, 'putting_fence', fence, 'putting_until', NOW + lease_s)
  return true
end

local function end_put(component, id, fence)
  if is_putting(component, id, fence) then
    redis.call('HDEL', component_key(component), 'putting', 'putting_fence', 'putting_until')
  end
end
