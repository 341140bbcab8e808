-- At which job the last step of trimming left off, and the jobs after it. ARGV: how many.
local turn = redis.call('HGET', KEYS[1], 'trimmed') or ''
return {'ok', turn, after('chapters', turn, ARGV[3])}
