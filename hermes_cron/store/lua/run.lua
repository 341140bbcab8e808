-- One run. ARGV: its id.
return {'ok', redis.call('HGET', key('runs'), ARGV[3])}
