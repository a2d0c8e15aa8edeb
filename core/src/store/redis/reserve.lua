-- Takes ARGV[6] numbers for tables and gives the first, when all are below ARGV[7].
local first, count = tonumber(redis.call('HGET', meta, 'next')), tonumber(ARGV[6])
if first + count > tonumber(ARGV[7]) then return {'full'} end
if count > 0 then
  position = position + 1
  redis.call('HSET', meta, 'next', first + count, 'position', position, 'u' .. user, position)
end
return {'ok', position, first}
