-- Stands before every script. KEYS[1] is the key of the whole store; ARGV[1] is what every key begins with, ARGV[2]
-- the schema that the caller knows, and what follows is the script's own.
local function key(name, id)
  return ARGV[1] .. name .. (id and ':' .. id or '')
end

-- The server's time, in whole microseconds since 1970: a double holds it exactly until the year 2255.
local function micros()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function text(number)
  return string.format('%.0f', number)
end

-- Whether something that lasts `span` at most still does. What ends later than it can was written before the
-- server's clock was put back, and counts for nothing.
local function lasts(until_at, span, now)
  until_at = tonumber(until_at or 0)
  return until_at > now and until_at <= now + span
end

-- Lets others change a job again, if it is still we who hold it.
local function free(id, until_at)
  local held = redis.call('ZSCORE', key('held'), id)
  if held and tonumber(held) == tonumber(until_at) then redis.call('ZREM', key('held'), id) end
end

-- What is kept of one id: version, job, arm, open runs and open fires, as JSON texts.
local function kept(id)
  local head = redis.call('HMGET', key('job', id), 'version', 'job', 'arm')
  local found = {head[1], head[2], head[3], {}, {}}
  for place, rows in pairs({[4] = 'runs', [5] = 'fires'}) do
    for at, member in ipairs(redis.call('SMEMBERS', key('open-' .. rows, id))) do
      found[place][at] = redis.call('HGET', key(rows), member)
    end
  end
  return found
end

-- So many ids of an index, in their order.
local function after(index, id, most)
  return redis.call('ZRANGEBYLEX', key(index), id == '' and '-' or '(' .. id, '+', 'LIMIT', 0, most)
end

local meta = redis.call('HMGET', KEYS[1], 'schema', 'stopped', 'epoch', 'gate')
local stopped = meta[2] == '1'
