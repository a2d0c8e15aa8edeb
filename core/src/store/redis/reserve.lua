-- Takes ARGV[8] numbers for tables and gives the first, when all are below ARGV[9].
local first, count = tonumber(redis.call('HGET', meta, 'next')), tonumber(ARGV[8])
if first + count > tonumber(ARGV[9]) then return {'full'} end
if count > 0 then
  redis.call('HSET', meta, 'next', first + count)
  position = position + 1
  advance(position, ARGV[7])
  return {ok, position, ARGV[7], first}
end
return {ok, position, state[8], first}
