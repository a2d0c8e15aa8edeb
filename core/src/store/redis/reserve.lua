-- Takes ARGV[1] numbers for tables and gives the first; false when there are not so many left. ARGV[2]: the first of all. KEYS[2]: where
-- the next one is kept.
local name = KEYS[2]
local first = tonumber(redis.call('GET', name) or ARGV[2])
local count = tonumber(ARGV[1])
if first + count >= 4294967295 then return false end
if count > 0 then redis.call('SET', name, first + count) end
return first
