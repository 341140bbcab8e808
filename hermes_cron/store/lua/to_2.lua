-- From schema 1 to 2, a few rows at a time: fires stand in indexes by their state, and runs are found by their fire.
local MANY = 500
if meta[1] ~= '1' then return {'ok'} end
-- What an old process writes meanwhile stands in the old index once more, and so is taken along.
local members = redis.call('ZRANGE', key('fires-at'), 0, MANY - 1, 'WITHSCORES')
for at = 1, #members, 2 do
  local member, score = members[at], members[at + 1]
  local id = string.match(member, '^(.-)%z')
  local state = cjson.decode(redis.call('HGET', key('fires'), member)).state
  for _, open in ipairs({'waiting', 'running'}) do
    redis.call('ZREM', key('fires-in', open), member)
    redis.call('ZREM', key('fires-in', open .. ':' .. id), member)
  end
  redis.call('ZADD', key('fires-in', state), score, member)
  redis.call('ZADD', key('fires-in', state .. ':' .. id), score, member)
  redis.call('ZREM', key('fires-at'), member)
  redis.call('ZREM', key('fires-at', id), member)
end
if #members > 0 then return {'more'} end
local first = tonumber(redis.call('HGET', KEYS[1], 'moved') or 0)
local runs = redis.call('ZRANGE', key('runs-at'), first, first + MANY - 1)
for _, name in ipairs(runs) do
  local run = cjson.decode(redis.call('HGET', key('runs'), name))
  redis.call('ZADD', key('runs-of', run.job_id), 0, run.key .. '\0' .. name)
end
if #runs == MANY then
  redis.call('HSET', KEYS[1], 'moved', first + MANY)
  return {'more'}
end
redis.call('DEL', key('dead'))
redis.call('HDEL', KEYS[1], 'moved')
redis.call('HSET', KEYS[1], 'schema', '2')
return {'ok'}
