-- KEYS[3]: tables that nobody could reach, and since when. ARGV[8]: a cursor; gives the next one, and some of them. ARGV from 9 on: what is added, number and
-- position, or removed, with '' for the position.
for i = 9, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[3], ARGV[i]) else redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
end
if ARGV[8] == '' then return {ok, position, state[8]} end
local part = redis.call('HSCAN', KEYS[3], ARGV[8], 'COUNT', 1000)
return {ok, position, state[8], part[1], part[2]}
