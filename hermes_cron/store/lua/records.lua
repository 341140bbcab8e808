-- A page of records, by id. ARGV: `jobs` or `arms`, the id that it comes after, how many.
local found = {}
for at, id in ipairs(after(ARGV[3], ARGV[4], ARGV[5])) do
  found[at] = {id, kept(id)}
end
return {'ok', found}
