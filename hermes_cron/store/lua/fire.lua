-- One fire. ARGV: its member.
return {'ok', redis.call('HGET', key('fires'), ARGV[3])}
