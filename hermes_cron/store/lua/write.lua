-- Writes what a step made of a job, or nothing. ARGV: id, until when we held it, the version and the stop's epoch
-- that the step was taken on, until when this may be written, a receipt, how long that is kept (ms), rows, commands.
local id, receipt = ARGV[3], key('receipt', ARGV[8])
free(id, ARGV[4])
-- What was given up, or comes so late that it may have been, is not written any more.
if redis.call('EXISTS', receipt) == 1 or micros() > tonumber(ARGV[7]) then return {'void'} end
-- I5, I15: what the step decided on is still so. To hold a job only saves others the trouble; this is what decides.
local version = redis.call('HGET', key('job', id), 'version') or ''
if version ~= ARGV[5] or meta[3] ~= ARGV[6] then return {'void'} end
for _, row in ipairs(cjson.decode(ARGV[10])) do
  local what, member = row[1], row[2]
  local open = redis.call('SISMEMBER', key('open-' .. what, id), member) == 1
  -- I12: what has its outcome is not written again, whatever a step says.
  if not open and redis.call('HEXISTS', key(what), member) == 1 then return {'settled', what, member} end
end
redis.call('SET', receipt, 'done', 'PX', ARGV[9])
for _, command in ipairs(cjson.decode(ARGV[11])) do
  command[2] = ARGV[1] .. command[2]
  redis.call(unpack(command))
end
return {'ok'}
