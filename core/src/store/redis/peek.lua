-- How far a large commit is. KEYS[2]: its list. ARGV[2]: its name and position. Nothing when it is done.
if redis.call('HGET', KEYS[1], 'pending') ~= ARGV[2] then return {'ok'} end
return {'ok', redis.call('LLEN', KEYS[2]), redis.call('LINDEX', KEYS[2], 0)}
