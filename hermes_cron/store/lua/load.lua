-- How much runs, waits, is due soon and is wanted. While stopped nobody may take a run over or start what waits.
-- ARGV: how soon, in microseconds.
local now = micros()
local soon = text(now + tonumber(ARGV[3]))
local dead = redis.call('ZCOUNT', key('leases'), '-inf', text(now))
local due = redis.call('ZCOUNT', key('due'), '-inf', soon) + redis.call('ZCOUNT', key('retries'), '-inf', soon)
local wanted = redis.call('ZCOUNT', key('wanted'), stopped and '+inf' or '-inf', '+inf')
local live, waiting = redis.call('ZCARD', key('leases')) - dead, redis.call('SCARD', key('waiting'))
if stopped then dead, waiting, due = 0, 0, 0 end
return {'ok', live, dead, waiting, due, wanted}
