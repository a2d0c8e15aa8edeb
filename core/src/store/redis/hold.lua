-- Notes which tables a user holds, but for what can be reached from `_home`. KEYS[3]: all users. ARGV[8]: their numbers.
position = position + 1
advance(position, ARGV[7])
local bound = string.match(redis.call('HGET', KEYS[3], user) or '', '^%d+ (%d+)') or 0
redis.call('HSET', KEYS[3], user, redis.call('TIME')[1] .. ' ' .. bound .. ' ' .. position .. ' ' .. ARGV[8])
return {ok, position, ARGV[7]}
