-- Sets aside a part of a large commit. KEYS[2]: the list that it comes to. Other keys: the tables that it writes to. ARGV: how long that is kept, the length that it has before, and what is added: see
-- `apply`. Once more does no harm.
for k = 3, #KEYS do
  if not look(k) then return {'lost', KEYS[k]} end
end
local n, before = redis.call('LLEN', KEYS[2]), tonumber(ARGV[7])
if n == before then
  redis.call('RPUSH', KEYS[2], ARGV[8], ARGV[9], ARGV[10])
elseif n ~= before + 3 then
  return {'lost', KEYS[2]}
end
redis.call('EXPIRE', KEYS[2], ARGV[6])
return {'ok', position}
