-- What scripts have in common. KEYS[1]: `meta`, which has all that is known of the namespace but the entries. KEYS[2]: `log`, the marks of the last positions. ARGV[1]: the server's name for the
-- time since it was started, '' when it tells nobody. ARGV[2]: the user, a sandbox; '' for one that only reads.
local meta, server, user = KEYS[1], ARGV[1], ARGV[2]

-- Writes to `meta` also when memory is short: a script that has written something may go on.
local function note(...)
  redis.call('HDEL', meta, '')
  redis.call('HSET', meta, ...)
end

-- A server that was started anew, or has taken the place of another one, may have forgotten something. Who saw more than this position has lost it then.
local function new_epoch(position)
  local time = redis.call('TIME')
  local epoch = position .. '-' .. time[1] .. '.' .. time[2] .. '-' .. string.sub(server, 1, 8)
  local epochs = (redis.call('HGET', meta, 'epochs') or '') .. epoch .. ' ' .. position .. '\n'
  local _, n = string.gsub(epochs, '\n', '')
  if n > 100 then
    epochs = string.sub(epochs, string.find(epochs, '\n', 1, true) + 1)
  end
  note('server', server, 'epoch', epoch, 'epochs', epochs)
  return epoch
end

-- Writes down the next position. Nobody else's has the same mark.
local function advance(position, mark)
  redis.call('SETRANGE', KEYS[2], position % 1024 * 4, mark)
  note('position', position, 'mark', mark, 'u' .. user, position)
end

-- Users have ended: ARGV from `first` on. `users`: the key of all. How many there should be is written down, so that losing them is noticed.
local function leave(users, first)
  for i = first, #ARGV do
    if redis.call('HDEL', users, ARGV[i]) == 1 then
      redis.call('HDEL', meta, 'u' .. ARGV[i], 'a' .. ARGV[i])
      note('users', redis.call('HGET', meta, 'users') - 1)
    end
  end
end

local looked = {}
-- The table of a key: its number, how many entries it has, its version, '' when it never was written, and the one in which it was made; nil when the
-- entries are lost, or what `meta` knows of them.
local function look(k)
  local table = looked[k]
  if not table then
    local id = string.sub(KEYS[k], #meta - 1)
    local n, known = redis.call('HLEN', KEYS[k]), redis.call('HGET', meta, id) or ''
    -- One that has become empty has a byte more there.
    if (n > 0) ~= (known ~= '' and #known ~= 17) then return nil end
    table = {id = id, n = n, version = string.sub(known, 1, 8), made = string.sub(known, 9, 16)}
    looked[k] = table
  end
  return table
end
