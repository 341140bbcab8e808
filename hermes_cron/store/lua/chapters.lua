-- A page of jobs' chapters, by id. ARGV: the index, the id that it comes after, how many jobs.
local found = {}
for at, id in ipairs(after(ARGV[3], ARGV[4], ARGV[5])) do
  found[at] = {id, redis.call('LRANGE', key('chapters', id), 0, -1)}
end
return {'ok', found}
