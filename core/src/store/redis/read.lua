-- Reads. KEYS: all that is used, which a cluster looks at; the first is the namespace's 'format'. ARGV: one request behind another,
-- each a letter, a table and more.
--   g table key         the entry, or false
--   s table             the number of entries
--   t table n bytes     number of entries; then version and all keys and entries if they are at most so many, and so large
--   k table             version and all keys
--   a table             version and all keys and entries
-- An entry is 8 bytes that tell which commit wrote it, and the value. A version is that of the table's last change.
local prefix = string.sub(KEYS[1], 1, -7)
local answers = {}
local i = 1
while ARGV[i] do
  local what, id = ARGV[i], ARGV[i + 1]
  local name = prefix .. 't:' .. id
  local answer
  if what == 'g' then
    answer = redis.call('HGET', name, ARGV[i + 2])
    i = i + 3
  elseif what == 's' then
    answer = redis.call('HLEN', name)
    i = i + 2
  elseif what == 't' then
    local n = redis.call('HLEN', name)
    answer = {n}
    if n <= tonumber(ARGV[i + 2]) then
      local bytes = 0
      for _, key in ipairs(redis.call('HKEYS', name)) do
        bytes = bytes + redis.call('HSTRLEN', name, key)
      end
      if bytes <= tonumber(ARGV[i + 3]) then
        answer = {n, redis.call('HGET', prefix .. 'versions', id), redis.call('HGETALL', name)}
      end
    end
    i = i + 4
  else
    local all = redis.call(what == 'k' and 'HKEYS' or 'HGETALL', name)
    answer = {redis.call('HGET', prefix .. 'versions', id), all}
    i = i + 2
  end
  answers[#answers + 1] = answer
end
return answers
