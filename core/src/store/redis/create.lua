-- Makes a namespace, or one of format 1 to one of format 2. KEYS[3]: its format, which versions of luacell that know no `meta` look at. KEYS[4] to KEYS[6]: what
-- format 1 had, `versions`, `commits` and `next`. KEYS[7]: `_home`. ARGV[3]: the first number for a table.
local format = redis.call('GET', KEYS[3])
if format and format ~= 'luacell 1' and format ~= 'luacell 2' then return {'format', format} end
if redis.call('HEXISTS', meta, 'position') == 1 then return {'ok'} end
if user == '' then return {'none'} end
local position, first = 0, ARGV[3]
if format == 'luacell 1' then
  position, first = redis.call('GET', KEYS[5]) or 0, redis.call('GET', KEYS[6]) or first
  if redis.call('EXISTS', meta) == 0 and redis.call('EXISTS', KEYS[4]) == 1 then redis.call('RENAME', KEYS[4], meta) end
  -- Who still runs with format 1 is refused by these before anything is written.
  redis.call('SET', KEYS[4], 'luacell 2')
  redis.call('UNLINK', KEYS[5], KEYS[6])
elseif format or redis.call('EXISTS', KEYS[7]) == 1 then
  return {'lost', meta}
end
redis.call('SET', KEYS[3], 'luacell 2')
note('format', 'luacell 2', 'position', position, 'next', first, 'tick', 0, 'users', 0, 'mark', '')
new_epoch(position)
return {'ok'}
