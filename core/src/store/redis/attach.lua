-- Begins to use the namespace. KEYS[2]: all users. ARGV from 3 on: users that have ended.
local state = redis.call('HMGET', meta, 'format', 'position', 'epoch', 'server', 'tick', 'next')
local position = tonumber(state[2])
if not position then return {'new'} end
if state[1] ~= 'luacell 2' then return {'format', state[1]} end
if user == '' then return {'ok', position, state[3]} end
for i = 3, #ARGV do
  if redis.call('HDEL', KEYS[2], ARGV[i]) == 1 then redis.call('HDEL', meta, 'u' .. ARGV[i], 'a' .. ARGV[i]) end
end
if server ~= '' and state[4] ~= server then state[3] = new_epoch(position) end
position = position + 1
note('position', position, 'u' .. user, position, 'a' .. user, state[5])
redis.call('HSET', KEYS[2], user, redis.call('TIME')[1] .. ' 0 ' .. position .. ' ')
note('users', redis.call('HLEN', KEYS[2]))
return {'ok', position, state[3]}
