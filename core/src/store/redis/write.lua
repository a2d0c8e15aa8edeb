-- Writes are a list in MessagePack: which of KEYS behind the first `base` ones, key and value; without a value the entry is deleted, without a key the whole table is
-- removed, which comes first.

-- Whether all tables are what `meta` says, or which is not, and whether anything is deleted. What is no table at all raises an error.
local function survey(base, writes)
  local sets, deletes = false, false
  for j = 1, #writes, 3 do
    local k = base + writes[j]
    if not looked[k] and not look(k) then return KEYS[k] end
    if writes[j + 2] then sets = true else deletes = true end
  end
  return nil, sets, deletes
end

-- Whatever is refused is refused here. This changes nothing; deleting and setting may be allowed each for itself.
local function try(position)
  redis.call('HDEL', meta, '')
  redis.call('HSET', meta, 'position', position)
end

-- Makes the writes of the commit that leads to this position. `known`: what else comes to `meta`.
local function write(base, writes, position, known)
  local version = struct.pack('>I8', position)
  local touched = {}
  local j, n = 1, #writes
  while j <= n do
    local k, key, value = base + writes[j], writes[j + 1], writes[j + 2]
    if value then
      touched[k] = touched[k] or 'set'
      if j + 3 <= n and base + writes[j + 3] == k and writes[j + 5] then
        local entries = {key, version .. value}
        while j + 3 <= n and base + writes[j + 3] == k and writes[j + 5] and #entries < 200 do
          j = j + 3
          entries[#entries + 1] = writes[j + 1]
          entries[#entries + 1] = version .. writes[j + 2]
        end
        redis.call('HSET', KEYS[k], unpack(entries))
      else
        redis.call('HSET', KEYS[k], key, version .. value)
      end
    elseif key then
      touched[k] = 'deleted'
      redis.call('HDEL', KEYS[k], key)
    else
      touched[k] = 'removed'
      redis.call('UNLINK', KEYS[k])
    end
    j = j + 3
  end
  for k, what in pairs(touched) do
    local table = looked[k]
    local empty = what == 'deleted' and redis.call('HLEN', KEYS[k]) == 0
    if what == 'removed' then
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
