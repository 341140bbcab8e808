-- Lets others change a job again. ARGV: id, until when we held it.
free(ARGV[3], ARGV[4])
return {'ok'}
