-- A page of runs, newest first. ARGV: an index, how many to pass over, how many.
local first = tonumber(ARGV[4])
local found = {}
for at, member in ipairs(redis.call('ZREVRANGE', key(ARGV[3]), first, first + tonumber(ARGV[5]) - 1)) do
  found[at] = {member, redis.call('HGET', key('runs'), member)}
end
return {'ok', found}
