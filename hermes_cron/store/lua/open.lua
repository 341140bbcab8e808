-- Makes the store where there is none, and tells its schema.
if meta[1] then return {'ok', meta[1]} end
for _, name in ipairs({'runs', 'fires', 'jobs', 'arms', 'held'}) do
  if redis.call('EXISTS', key(name)) == 1 then return {'foreign', key(name)} end
end
redis.call('HSET', KEYS[1], 'schema', ARGV[2], 'stopped', '0', 'epoch', '0')
return {'ok', ARGV[2]}
