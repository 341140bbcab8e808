-- Ids whose arm is wanted, the earliest wake first; disarms stand at the end of time. ARGV: how many.
return {'ok', redis.call('ZRANGEBYSCORE', key('wanted'), stopped and '+inf' or '-inf', '+inf', 'LIMIT', 0, ARGV[3])}
