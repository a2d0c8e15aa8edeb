-- Writes all or nothing. ARGV from 8 on: one step behind another; first those that check what was read, which end the script with their place when it has changed:
--   v table key version   the entry's first 8 bytes, '' when it was absent
--   s table n             the number of entries
--   t table version       the table's version, '' when it had none
--   p position            nothing at all has changed
-- Then the writes:
--   n               with `w`: values refer to tables, and nobody has listed which; refused while somebody looks for orphans
--   w writes        all there is to write
--   c list n name   they are in this list, of n elements, which has this name: the user goes on with `apply`

-- A commit that its user gave up may have arrived, or may come later: then this one has been.
if user ~= '' and tonumber(state[6]) ~= tonumber(ARGV[5]) then return {'own', state[6]} end
local i = 8
while true do
  local what = ARGV[i]
  if what == 'v' then
    local k = tonumber(ARGV[i + 1])
    if not look(k) then return {'lost', KEYS[k]} end
    local entry = redis.call('HGET', KEYS[k], ARGV[i + 2])
    if (entry and string.sub(entry, 1, 8) or '') ~= ARGV[i + 3] then return {'conflict ' .. i} end
    i = i + 4
  elseif what == 's' or what == 't' then
    local k = tonumber(ARGV[i + 1])
    local table = look(k)
    if not table then return {'lost', KEYS[k]} end
    if ARGV[i + 2] ~= (what == 's' and tostring(table.n) or table.version) then return {'conflict ' .. i} end
    i = i + 3
  elseif what == 'p' then
    if tonumber(ARGV[i + 1]) ~= position then return {'conflict ' .. i} end
    i = i + 2
  else
    break
  end
end
if not ARGV[i] then return {ok, position, state[8]} end
if ARGV[i] == 'n' then
  local gc = redis.call('HGET', meta, 'gc')
  if gc then
    if string.match(gc, ' (%d+)$') + 600 > tonumber(redis.call('TIME')[1]) then return {'gc'} end
    redis.call('HDEL', meta, 'gc')
  end
  i = i + 1
end
local next = position + 1
if ARGV[i] == 'w' then
  local writes = cmsgpack.unpack(ARGV[i + 1])
  local lost, sets, deletes = survey(2, writes)
  if lost then return {'lost', lost} end
  -- The server looks at its memory before a script's first write alone, and deleting needs none.
  if not sets then try(position) end
  redis.call('SETRANGE', KEYS[2], next % 1024 * 4, ARGV[7])
  if sets and deletes then try(position) end
  write(2, writes, next, {'position', next, 'mark', ARGV[7], 'u' .. user, next})
else
  local list = KEYS[tonumber(ARGV[i + 1])]
  if redis.call('LLEN', list) ~= tonumber(ARGV[i + 2]) then return {'lost', list} end
  redis.call('PERSIST', list)
  note('pending', ARGV[i + 3] .. ' ' .. next)
  advance(next, ARGV[7])
end
return {ok, next, ARGV[7]}
