-- The store is there, and its schema is the caller's.
if meta[1] ~= ARGV[2] then return {'schema', meta[1] or ''} end
