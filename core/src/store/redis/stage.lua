-- Sets aside a part of a large commit. KEYS[3]: the list that it comes to. Other keys: the tables that it writes to. ARGV: how long that is kept, the length that it has before, and what is added: see
-- `apply`. Once more does no harm.
for k = 4, #KEYS do
  if not look(k) then return {'lost', KEYS[k]} end
end
local n, before = redis.call('LLEN', KEYS[3]), tonumber(ARGV[9])
if n == before then
  redis.call('RPUSH', KEYS[3], ARGV[10], ARGV[11], ARGV[12])
elseif n ~= before + 3 then
  return {'lost', KEYS[3]}
end
redis.call('EXPIRE', KEYS[3], ARGV[8])
return {ok, position, state[8]}
