-- One job's chapters. ARGV: id.
return {'ok', redis.call('LRANGE', key('chapters', ARGV[3]), 0, -1)}
