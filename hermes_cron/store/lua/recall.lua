-- Whether a change was written whose answer was lost; from now on it cannot be. ARGV: id, until when we held it, the
-- receipt, how long to keep it (ms).
local receipt = key('receipt', ARGV[5])
if redis.call('GET', receipt) == 'done' then return {'done'} end
free(ARGV[3], ARGV[4])
redis.call('SET', receipt, 'void', 'PX', ARGV[6])
return {'void'}
