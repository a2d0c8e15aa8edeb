-- Users have ended: ARGV from 2 on. KEYS[2]: all users.
for i = 2, #ARGV do
  if redis.call('HDEL', KEYS[2], ARGV[i]) == 1 then redis.call('HDEL', KEYS[1], 'u' .. ARGV[i], 'a' .. ARGV[i]) end
end
if redis.call('HEXISTS', KEYS[1], 'users') == 1 then redis.call('HSET', KEYS[1], 'users', redis.call('HLEN', KEYS[2])) end
return {'ok'}
