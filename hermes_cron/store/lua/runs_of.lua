-- The runs of fires. ARGV: their members.
local found = {}
for at = 3, #ARGV do
  local id, name = string.match(ARGV[at], '^(.-)%z(.*)$')
  -- No name holds a NUL: this is the fire's own stretch, and no other's.
  local first, last = '[' .. name .. '\0', '(' .. name .. '\1'
  for _, member in ipairs(redis.call('ZRANGEBYLEX', key('runs-of', id), first, last)) do
    local run = string.sub(member, #name + 2)
    found[#found + 1] = {run, redis.call('HGET', key('runs'), run)}
  end
end
return {'ok', found}
