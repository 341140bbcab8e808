-- Leaves the turn of trimming at a job. ARGV: its id.
redis.call('HSET', KEYS[1], 'trimmed', ARGV[3])
return {'ok'}
