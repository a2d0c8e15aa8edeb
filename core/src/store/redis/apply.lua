-- Makes the next part of the writes of a large commit. KEYS[3]: a list of parts, each of three elements: the numbers of the tables, the writes, and the numbers of
-- tables that values refer to. KEYS[4]: where those are noted when somebody looks for orphans. Other keys: the tables. ARGV[3]: the commit's name and
-- position. ARGV[4]: the length of the list. Who is late does nothing.
local name, left = ARGV[3], tonumber(ARGV[4])
local list = KEYS[3]
if redis.call('HGET', meta, 'pending') ~= name or redis.call('LLEN', list) ~= left then return {'ok'} end
local writes, references = cmsgpack.unpack(redis.call('LINDEX', list, 1)), cmsgpack.unpack(redis.call('LINDEX', list, 2))
local lost = survey(4, writes)
if lost then return {'lost', lost} end
-- Memory was looked at when this was set aside.
try(redis.call('HGET', meta, 'position'))
if #references > 0 and redis.call('HEXISTS', meta, 'gc') == 1 then
  for j = 1, #references, 1000 do
    redis.call('SADD', KEYS[4], unpack(references, j, math.min(j + 999, #references)))
  end
end
for _ = 1, 3 do redis.call('LPOP', list) end
write(4, writes, tonumber(string.match(name, ' (%d+)$')), {})
if left == 3 then redis.call('HDEL', meta, 'pending') end
return {'ok'}
