-- Jobs whose wake has come and runs whose lease is dead, each with since when, oldest first. ARGV: how many of each.
if stopped then return {'ok', {}, {}} end
local now = text(micros())
local function before(index)
  return redis.call('ZRANGEBYSCORE', key(index), '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[3])
end
return {'ok', before('wakes'), before('leases')}
