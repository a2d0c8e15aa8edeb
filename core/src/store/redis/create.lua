-- Makes a namespace, or one of format 1 to one of format 2. KEYS[2]: its format, which versions of luacell that know no `meta` look at. KEYS[3] to KEYS[5]: what
-- format 1 had, `versions`, `commits` and `next`. KEYS[6]: `_home`. ARGV[3]: the first number for a table.
local format = redis.call('GET', KEYS[2])
if format and format ~= 'luacell 1' and format ~= 'luacell 2' then return {'format', format} end
if redis.call('HEXISTS', meta, 'position') == 1 then return {'ok'} end
if user == '' then return {'none'} end
local position, first = 0, ARGV[3]
if format == 'luacell 1' then
  position, first = redis.call('GET', KEYS[4]) or 0, redis.call('GET', KEYS[5]) or first
  if redis.call('EXISTS', meta) == 0 and redis.call('EXISTS', KEYS[3]) == 1 then redis.call('RENAME', KEYS[3], meta) end
  -- Who still runs with format 1 is refused by these before anything is written.
  redis.call('SET', KEYS[3], 'luacell 2')
  redis.call('UNLINK', KEYS[4], KEYS[5])
elseif format or redis.call('EXISTS', KEYS[6]) == 1 then
  return {'lost', meta}
end
redis.call('SET', KEYS[2], 'luacell 2')
note('format', 'luacell 2', 'position', position, 'next', first, 'tick', 0, 'users', 0)
new_epoch(position)
return {'ok'}
