-- What is kept of one job. ARGV: id.
return {'ok', kept(ARGV[3])}
