-- All that can be reached was seen, unless the tables that commits have noted, KEYS[4], are more than ARGV[8]. KEYS[3]: all users. Gives them, as `gc` does, and who of
-- them has done something meanwhile.
if string.match(redis.call('HGET', meta, 'gc') or '', '^%S+') ~= user then return {'busy'} end
if redis.call('SCARD', KEYS[4]) ~= tonumber(ARGV[8]) then return {'more'} end
local users, active = redis.call('HGETALL', KEYS[3]), {}
for i = 1, #users, 2 do
  if redis.call('HGET', meta, 'a' .. users[i]) == state[5] then active[#active + 1] = users[i] end
end
return {ok, position, state[8], users, active}
