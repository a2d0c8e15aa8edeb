-- Writes are a list in MessagePack: which of KEYS behind the first `base` ones, key and value; without a value the entry is deleted, without a key the whole table is
-- removed. Whatever could be refused is refused before the first of them is made; then this gives the key that it is about, or an error is raised.
local function ready(base, writes, position)
  local sets, deletes = false, false
  for j = 1, #writes, 3 do
    local k = base + writes[j]
    if not look(k) then return KEYS[k] end
    if writes[j + 2] then sets = true else deletes = true end
  end
  -- These change nothing. The server looks at its memory before a script's first write alone, and deleting needs none.
  if not sets then redis.call('HDEL', meta, '') end
  redis.call('HSET', meta, 'position', position)
  if sets and deletes then redis.call('HDEL', meta, '') end
end

-- Makes the writes of the commit that led to this position.
local function write(base, writes, position)
  local version = struct.pack('>I8', position)
  local touched, removed = {}, {}
  local j, n = 1, #writes
  while j <= n do
    local k, key, value = writes[j], writes[j + 1], writes[j + 2]
    local name = KEYS[base + k]
    touched[base + k] = true
    if value then
      local entries = {key, version .. value}
      while j + 3 <= n and writes[j + 3] == k and writes[j + 5] and #entries < 200 do
        j = j + 3
        entries[#entries + 1] = writes[j + 1]
        entries[#entries + 1] = version .. writes[j + 2]
      end
      redis.call('HSET', name, unpack(entries))
    elseif key then
      redis.call('HDEL', name, key)
    else
      redis.call('UNLINK', name)
      removed[base + k] = true
    end
    j = j + 3
  end
  local known = {}
  for k in pairs(touched) do
    local table = look(k)
    local empty = redis.call('HLEN', KEYS[k]) == 0
    if removed[k] then
      redis.call('HDEL', meta, table.id)
    elseif not empty or table.version ~= '' then
      local made = table.made
      if table.version == '' then made = version elseif made == '' then made = string.rep('\0', 8) end
      known[#known + 1] = table.id
      known[#known + 1] = version .. made .. (empty and 'e' or '')
      if #known >= 2000 then
        redis.call('HSET', meta, unpack(known))
        known = {}
      end
    end
  end
  if #known > 0 then redis.call('HSET', meta, unpack(known)) end
end
