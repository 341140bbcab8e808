-- How much runs, waits, is due soon and is wanted. ARGV: how soon, in microseconds.
local now = micros()
local soon = text(now + tonumber(ARGV[3]))
local dead = redis.call('ZCOUNT', key('leases'), '-inf', text(now))
local due = redis.call('ZCOUNT', key('due'), '-inf', soon) + redis.call('ZCOUNT', key('retries'), '-inf', soon)
local wanted = redis.call('ZCOUNT', key('wanted'), stopped and '+inf' or '-inf', '+inf')
return {
  'ok', redis.call('ZCARD', key('leases')) - dead, dead, redis.call('SCARD', key('waiting')), stopped and 0 or due,
  wanted,
}
