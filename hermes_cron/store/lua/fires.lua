-- A page of the ledger, newest first. ARGV: how many, the score and the member that it comes after, the indexes.
local most, score, member = tonumber(ARGV[3]), ARGV[4], ARGV[5]

-- As the server orders members of one score; `<` would ask the machine's locale.
local function less(one, other)
  for at = 1, math.min(#one, #other) do
    local a, b = string.byte(one, at), string.byte(other, at)
    if a ~= b then return a < b end
  end
  return #one < #other
end

-- How many of an index stand before the page: all that are newer, and of those of the very instant, which may be
-- many, the ones that do not come after the member.
local function passed(index)
  if score == '+inf' then return 0 end
  local low = redis.call('ZCOUNT', index, '(' .. score, '+inf')
  local high = low + redis.call('ZCOUNT', index, score, score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if less(redis.call('ZREVRANGE', index, middle, middle)[1], member) then high = middle else low = middle + 1 end
  end
  return low
end

local rows = {}
for at = 6, #ARGV do
  local index = key(ARGV[at])
  local first = passed(index)
  local page = redis.call('ZREVRANGE', index, first, first + most - 1, 'WITHSCORES')
  for place = 1, #page, 2 do rows[#rows + 1] = {page[place], page[place + 1], tonumber(page[place + 1])} end
end
if #ARGV > 6 then
  table.sort(rows, function(a, b) return a[3] > b[3] or (a[3] == b[3] and less(b[1], a[1])) end)
end
local found = {}
for at = 1, math.min(most, #rows) do
  found[at] = {rows[at][1], rows[at][2], redis.call('HGET', key('fires'), rows[at][1])}
end
return {'ok', found}
