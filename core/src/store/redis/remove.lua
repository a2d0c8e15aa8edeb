-- Removes tables that nobody needs, KEYS from 5 on. KEYS[3]: those that commits have noted. KEYS[4]: those that nobody could reach. ARGV from 8 on: what `meta` knew of each.
if string.match(redis.call('HGET', meta, 'gc') or '', '^%S+') ~= user then return {'busy'} end
for k = 5, #KEYS do
  local id = string.sub(KEYS[k], #meta - 1)
  if redis.call('HGET', meta, id) == ARGV[k + 3] and redis.call('SISMEMBER', KEYS[3], id) == 0 then
    redis.call('HDEL', KEYS[4], id)
    redis.call('UNLINK', KEYS[k])
    redis.call('HDEL', meta, id)
  end
end
return {ok, position, state[8]}
