-- Writes all or nothing. KEYS: all that is used, which a cluster looks at; the first is the namespace's 'format'. ARGV: one step
-- behind another; first those that check what was read, which end the script with false when it has changed:
--   v table key version   the entry's first 8 bytes, '' when it was absent
--   s table n             the number of entries
--   t table version       the table's version, '' when it had none
-- then the writes: S table key value, D table key, R table.
local prefix = string.sub(KEYS[1], 1, -7)
local i = 1
while ARGV[i] do
  local what, name = ARGV[i], prefix .. 't:' .. ARGV[i + 1]
  if what == 'v' then
    local entry = redis.call('HGET', name, ARGV[i + 2])
    if (entry and string.sub(entry, 1, 8) or '') ~= ARGV[i + 3] then return false end
    i = i + 4
  elseif what == 's' then
    if redis.call('HLEN', name) ~= tonumber(ARGV[i + 2]) then return false end
    i = i + 3
  elseif what == 't' then
    if (redis.call('HGET', prefix .. 'versions', ARGV[i + 1]) or '') ~= ARGV[i + 2] then return false end
    i = i + 3
  else
    break
  end
end
if not ARGV[i] then return true end
-- Whatever could go wrong has to do so before the first write.
local first, touched = i, {}
while ARGV[i] do
  local what, id = ARGV[i], ARGV[i + 1]
  if not touched[id] then
    redis.call('HLEN', prefix .. 't:' .. id)
    touched[id] = true
  end
  i = i + (what == 'S' and 4 or what == 'D' and 3 or 2)
end
redis.call('HLEN', prefix .. 'versions')
local version = struct.pack('>I8', redis.call('INCR', prefix .. 'commits'))
i = first
while ARGV[i] do
  local what, name = ARGV[i], prefix .. 't:' .. ARGV[i + 1]
  if what == 'S' then
    redis.call('HSET', name, ARGV[i + 2], version .. ARGV[i + 3])
    i = i + 4
  elseif what == 'D' then
    redis.call('HDEL', name, ARGV[i + 2])
    i = i + 3
  else
    redis.call('UNLINK', name)
    i = i + 2
  end
end
for id in pairs(touched) do
  if redis.call('HLEN', prefix .. 't:' .. id) > 0 then
    redis.call('HSET', prefix .. 'versions', id, version)
  else
    redis.call('HDEL', prefix .. 'versions', id)
  end
end
return true
