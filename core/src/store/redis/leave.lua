-- Ends users: ARGV from 3 on. KEYS[3]: all users.
if redis.call('HEXISTS', meta, 'users') == 1 then leave(KEYS[3], 3) end
return {'ok'}
