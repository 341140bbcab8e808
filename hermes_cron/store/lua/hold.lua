-- Reads one job for a change, and holds off other changes of it for a moment. ARGV: id, for how long, how long
-- anybody may.
local id, longest, now = ARGV[3], tonumber(ARGV[5]), micros()
-- I15: who stops everything waits for those who hold a job, and meanwhile nobody new may.
if lasts(meta[4], longest, now) or lasts(redis.call('ZSCORE', key('held'), id), longest, now) then return {'held'} end
local until_at = text(now + tonumber(ARGV[4]))
redis.call('ZADD', key('held'), until_at, id)
return {'ok', text(now), stopped and 1 or 0, meta[3], until_at, kept(id)}
