-- Notices for people: what has failed, what has become visible, and which nodes are set aside. A
-- worker sends them to FARMHAUL_NOTIFY_URL (workers/steps/notify.py). Nothing is noted unless a
-- worker has said within a day that it sends notices.

-- If the receiver is away, the first notices say what has begun. Those after them are only counted.
local MOST_NOTICES = 10000

local function notice(event, fields)
  if redis.call('EXISTS', KEY.notices_wanted) == 0 then
    return
  end
  if redis.call('ZCARD', KEY.notices) >= MOST_NOTICES then
    -- Somebody else may have written what is no number: a count is not worth a move.
    pcall(redis.call, 'HINCRBY', KEY.totals, 'notices_dropped', 1)
    return
  end
  fields.event, fields.at = event, NOW
  redis.call('ZADD', KEY.notices, NOW, cjson.encode(fields))
end

-- A member is no upload of its own: its publish fails with it.
local function notice_of_failure(id)
  local publish, error, kind = unpack(redis.call('HMGET', KEY.upload .. id, 'publish', 'error',
    'error_kind'))
  if not publish then
    notice('upload_failed', { id = id, error = error or '', kind = kind or '' })
  end
end

local function notice_of_node(event, node, note)
  notice(event, { node = node, what = note.what, error = note.error, kind = note.kind })
end
