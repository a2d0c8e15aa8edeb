-- How far a commit is. KEYS[2]: its list.
return {'ok', redis.call('LLEN', KEYS[2]), redis.call('LINDEX', KEYS[2], 0)}
