-- Reads one job for a change, and holds off other changes of it for a moment. ARGV: id, span.
local id, span, now = ARGV[3], tonumber(ARGV[4]), micros()
-- I15: who stops everything waits for those who hold a job, and meanwhile nobody new may.
if lasts(meta[4], span, now) or lasts(redis.call('ZSCORE', key('held'), id), span, now) then return {'held'} end
local until_at = text(now + span)
redis.call('ZADD', key('held'), until_at, id)
return {'ok', text(now), stopped and 1 or 0, meta[3], until_at, kept(id)}
