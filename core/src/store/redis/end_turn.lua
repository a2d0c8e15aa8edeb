-- Gives a turn back. KEYS[1]: whose it is. ARGV[2]: the name of who gives it back, who may have lost it.
if redis.call('GET', KEYS[1]) == ARGV[2] then redis.call('UNLINK', KEYS[1]) end
return {'ok'}
