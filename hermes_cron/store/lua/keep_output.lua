-- Keeps what a run said, once, if it has ended, and lets go what is too old. ARGV: job, run, text, how many of one job,
-- how many of all jobs.
local id, run, member = ARGV[3], ARGV[4], ARGV[3] .. '\0' .. ARGV[4]
-- I6: who may still write, or has written already, is not written over.
if redis.call('HEXISTS', key('runs'), run) == 0 or redis.call('SISMEMBER', key('open-runs', id), run) == 1 then
  return {'ok'}
end
if redis.call('HSETNX', key('outputs'), run, ARGV[5]) == 0 then return {'ok'} end
local at = redis.call('HINCRBY', KEYS[1], 'outputs', 1)
redis.call('ZADD', key('outputs-at'), at, member)
redis.call('ZADD', key('outputs-at', id), at, member)
local function let_go(index, most)
  for _, gone in ipairs(redis.call('ZRANGE', index, 0, -1 - most)) do
    local between = string.find(gone, '\0', 1, true)
    redis.call('HDEL', key('outputs'), string.sub(gone, between + 1))
    redis.call('ZREM', key('outputs-at'), gone)
    redis.call('ZREM', key('outputs-at', string.sub(gone, 1, between - 1)), gone)
  end
end
let_go(key('outputs-at', id), tonumber(ARGV[6]))
let_go(key('outputs-at'), tonumber(ARGV[7]))
return {'ok'}
