-- Forgets the oldest of what the ledger need not keep of one job (`rules.trim`), and tells how many fires went. ARGV: id,
-- how many at most; how many of its fires stay, how long, and how many dead letters.
local id, most, horizon = ARGV[3], tonumber(ARGV[4]), micros() - tonumber(ARGV[6])
local others, dead = {'cancelled', 'missed', 'skipped', 'succeeded'}, {'failed', 'interrupted'}
local all = {'waiting', 'running', unpack(others)}
for _, state in ipairs(dead) do all[#all + 1] = state end
local gone = redis.call('HEXISTS', key('job', id), 'job') == 0
local went, until_at = 0, tonumber(redis.call('HGET', key('trims'), id))

local function index(state)
  return key('fires-in', state .. ':' .. id)
end

-- Whether of these states so many are newer.
local function enough(states, score, number)
  for _, state in ipairs(states) do number = number - redis.call('ZCOUNT', index(state), '(' .. score, '+inf') end
  return number <= 0
end

local function forget_runs(name)
  for _, member in ipairs(redis.call('ZRANGEBYLEX', key('runs-of', id), '[' .. name .. '\0', '(' .. name .. '\1')) do
    local run = string.sub(member, #name + 2)
    redis.call('ZREM', key('runs-of', id), member)
    redis.call('HDEL', key('runs'), run)
    redis.call('ZREM', key('runs-at'), run)
    redis.call('ZREM', key('runs-at', id), run)
    redis.call('HDEL', key('outputs'), run)
    redis.call('ZREM', key('outputs-at'), id .. '\0' .. run)
    redis.call('ZREM', key('outputs-at', id), id .. '\0' .. run)
  end
end

local function forget(state, member, row)
  forget_runs(string.sub(member, #id + 2))
  redis.call('HDEL', key('fires'), member)
  redis.call('ZREM', key('fires-in', state), member)
  redis.call('ZREM', index(state), member)
  local last = type(row.last_at) == 'number' and row.last_at or row.fire_at
  until_at = math.max(until_at or last, last)
  went = went + 1
end

local function trim(states, beside, number)
  for _, state in ipairs(states) do
    local before = '(' .. text(horizon)
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', index(state), '-inf', before, 'LIMIT', 0, most - went)) do
      if not gone and not enough(beside, redis.call('ZSCORE', index(state), member), number) then break end
      local row = cjson.decode(redis.call('HGET', key('fires'), member))
      if type(row.settled_at) == 'number' and row.settled_at < horizon then forget(state, member, row) end
    end
  end
end

trim(others, all, tonumber(ARGV[5]))
trim(dead, dead, tonumber(ARGV[7]))
if went > 0 then redis.call('HSET', key('trims'), id, text(until_at)) end

-- A chapter ends where the next begins: one that was over by then tells of nothing that can still be judged.
local function began(place)
  local chapter = redis.call('LINDEX', key('chapters', id), place)
  return chapter and cjson.decode(chapter).at
end
for _ = 1, until_at and 2 * most or 0 do
  local later = began(1)
  if not later or later > until_at then break end
  redis.call('LPOP', key('chapters', id))
end
local kept = 0
for _, state in ipairs(all) do kept = kept + redis.call('ZCARD', index(state)) end
if gone and kept == 0 and (began(-1) or horizon) < horizon then
  redis.call('DEL', key('chapters', id))
  redis.call('ZREM', key('chapters'), id)
  redis.call('HDEL', key('trims'), id)
end
return {'ok', went}
