-- A page of runs or fires, newest first. ARGV: `runs` or `fires`, its index, how many to pass over, how many.
local first = tonumber(ARGV[5])
local found = {}
for at, member in ipairs(redis.call('ZREVRANGE', key(ARGV[4]), first, first + tonumber(ARGV[6]) - 1)) do
  found[at] = {member, redis.call('HGET', key(ARGV[3]), member)}
end
return {'ok', found}
