-- The earliest wake, if there is one and it counts.
if stopped then return {'ok', {}} end
return {'ok', redis.call('ZRANGE', key('wakes'), 0, 0, 'WITHSCORES')}
