-- Begins to use the namespace. KEYS[3]: all users. ARGV[3]: a mark. ARGV from 4 on: users that have ended.
local state = redis.call('HMGET', meta, 'format', 'position', 'epoch', 'server', 'tick', 'mark')
local position = tonumber(state[2])
if not position then return {'new'} end
if state[1] ~= 'luacell 2' then return {'format', state[1]} end
if user == '' then return {'ok', position, state[6], state[3]} end
leave(KEYS[3], 4)
if server ~= '' and state[4] ~= server then state[3] = new_epoch(position) end
position = position + 1
advance(position, ARGV[3])
note('a' .. user, state[5])
redis.call('HSET', KEYS[3], user, redis.call('TIME')[1] .. ' 0 ' .. position .. ' ')
note('users', redis.call('HGET', meta, 'users') + 1)
return {'ok', position, ARGV[3], state[3]}
