-- Begins to look for tables that nobody needs. KEYS[3]: all users. KEYS[4]: where commits note from here on which tables their values refer to. ARGV[8]: so many seconds
-- may somebody not be heard of. ARGV from 9 on: users that have ended. Gives the users that are left. Of each there are the time when it was heard of
-- last, the highest position that it can have seen, when it told what it holds, and what it holds.
local now = tonumber(redis.call('TIME')[1])
local other = redis.call('HGET', meta, 'gc')
if other and string.match(other, '^%S+') ~= user and string.match(other, ' (%d+)$') + 600 > now then return {'busy'} end
leave(KEYS[3], 9)
if redis.call('HLEN', KEYS[3]) ~= tonumber(redis.call('HGET', meta, 'users')) then
  -- Some are lost. Each may hold anything.
  for _, name in ipairs(redis.call('HKEYS', meta)) do
    name = string.match(name, '^u(%x+)$')
    if name and #name == 16 and redis.call('HEXISTS', KEYS[3], name) == 0 then
      redis.call('HSET', KEYS[3], name, now .. ' ' .. position .. ' 0 ')
    end
  end
end
local users = redis.call('HGETALL', KEYS[3])
local left = {}
for i = 1, #users, 2 do
  local time, bound, rest = string.match(users[i + 1], '^(%d+) (%d+) (.*)$')
  if users[i] ~= user and time + ARGV[8] < now then
    redis.call('HDEL', KEYS[3], users[i])
    redis.call('HDEL', meta, 'u' .. users[i], 'a' .. users[i])
  else
    if redis.call('HGET', meta, 'a' .. users[i]) == state[5] then
      bound = position
      redis.call('HSET', KEYS[3], users[i], time .. ' ' .. bound .. ' ' .. rest)
    end
    left[#left + 1] = users[i]
    left[#left + 1] = time .. ' ' .. bound .. ' ' .. rest
  end
end
-- Who does something from here on is known by that.
local tick = state[5] + 1
redis.call('UNLINK', KEYS[4])
redis.call('HSET', meta, 'tick', tick, 'a' .. user, tick, 'users', redis.call('HLEN', KEYS[3]), 'gc', user .. ' ' .. now)
return {ok, position, state[8], left}
