-- Goes on looking. KEYS[3]: the tables that commits have noted meanwhile. ARGV[8]: a cursor. Gives the next one, and some of them.
if string.match(redis.call('HGET', meta, 'gc') or '', '^%S+') ~= user then return {'busy'} end
redis.call('HSET', meta, 'gc', user .. ' ' .. redis.call('TIME')[1])
local part = redis.call('SSCAN', KEYS[3], ARGV[8], 'COUNT', 1000)
return {ok, position, state[8], part[1], part[2]}
