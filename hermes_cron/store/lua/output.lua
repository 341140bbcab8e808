-- What one run said. ARGV: its id.
return {'ok', redis.call('HGET', key('outputs'), ARGV[3])}
