-- Reads. ARGV from 8 on: one request behind another, each a letter, which of KEYS the table is, and more.
--   g table key           the entry, or false
--   s table               the number of entries
--   t table n bytes       number and version; then all keys and entries if they are at most so many, and so large
--   p table cursor count  version, the next cursor, and some of the keys and entries
--   r table cursor count  the next cursor, and those of some entries that may refer to tables
-- An entry is 8 bytes that tell which commit wrote it, and the value. A version is that of the table's last change.
local answers = {ok, position, state[8]}
local i = 8
while ARGV[i] do
  local what, k = ARGV[i], tonumber(ARGV[i + 1])
  local name, table = KEYS[k], look(k)
  if not table then return {'lost', name} end
  local answer
  if what == 'g' then
    answer = redis.call('HGET', name, ARGV[i + 2])
    i = i + 3
  elseif what == 's' then
    answer = table.n
    i = i + 2
  elseif what == 't' then
    answer = {table.n, table.version}
    if table.n <= tonumber(ARGV[i + 2]) then
      local bytes = 0
      for _, key in ipairs(redis.call('HKEYS', name)) do
        bytes = bytes + redis.call('HSTRLEN', name, key)
      end
      if bytes <= tonumber(ARGV[i + 3]) then
        answer[3] = redis.call('HGETALL', name)
      end
    end
    i = i + 4
  else
    local part = redis.call('HSCAN', name, ARGV[i + 2], 'COUNT', ARGV[i + 3])
    if what == 'p' then
      answer = {table.version, part[1], part[2]}
    else
      local values = {}
      for j = 2, #part[2], 2 do
        local tag = string.byte(part[2][j], 9)
        if tag == 7 or tag == 8 or tag == 11 or tag == 12 then
          values[#values + 1] = string.sub(part[2][j], 9)
        end
      end
      answer = {part[1], values}
    end
    i = i + 4
  end
  answers[#answers + 1] = answer
end
return answers
