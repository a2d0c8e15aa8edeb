-- The user is still there. KEYS[3]: all users.
local entry = redis.call('HGET', KEYS[3], user)
if entry then redis.call('HSET', KEYS[3], user, (string.gsub(entry, '^%d+', redis.call('TIME')[1]))) end
return {ok, position, state[8]}
