-- Up to which instant each job's ledger was trimmed.
return {'ok', redis.call('HGETALL', key('trims'))}
