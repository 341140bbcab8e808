-- Stops everything, or ends that, once nobody holds a job. ARGV: the flag, how long a job may be held, how long the
-- gate stays shut for those who would hold one.
local now = micros()
redis.call('ZREMRANGEBYSCORE', key('held'), '-inf', text(now))
redis.call('ZREMRANGEBYSCORE', key('held'), '(' .. text(now + tonumber(ARGV[4])), '+inf')
if redis.call('ZCARD', key('held')) > 0 then
  redis.call('HSET', KEYS[1], 'gate', text(now + tonumber(ARGV[5])))
  return {'held'}
end
redis.call('HSET', KEYS[1], 'stopped', ARGV[3])
redis.call('HDEL', KEYS[1], 'gate')
-- I15: a change that began before cannot be written after, even if it was out of sight.
redis.call('HINCRBY', KEYS[1], 'epoch', 1)
return {'ok'}
