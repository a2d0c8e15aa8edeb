-- Ends looking. KEYS[3]: what commits have noted. ARGV[8]: users who have not told since this position what they hold are asked to; '' for nobody.
if string.match(redis.call('HGET', meta, 'gc') or '', '^%S+') ~= user then return {'busy'} end
redis.call('HDEL', meta, 'gc')
redis.call('UNLINK', KEYS[3])
if ARGV[8] == '' then redis.call('HDEL', meta, 'wanted') else redis.call('HSET', meta, 'wanted', ARGV[8]) end
return {ok, position, state[8]}
