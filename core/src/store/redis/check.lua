-- Nothing is done unless the namespace is what the user has seen, and goes on from there. ARGV[3], ARGV[4]: the epoch and the highest position that it has seen;
-- a position counts commits and the like. ARGV[5]: that of its own last one. ARGV[6]: the mark of the highest position. ARGV[7]: the mark of the next one, if there is one.
local state = redis.call('HMGET', meta, 'position', 'epoch', 'server', 'pending', 'tick', 'u' .. user, 'a' .. user, 'mark', 'wanted')
local position = tonumber(state[1])
-- What an answer begins with: since when users are wanted to have told what they hold, or nothing of that kind.
local ok = state[9] or 'ok'
if not position then return {'gone'} end
if user ~= '' then
  if not state[6] then return {'left'} end
  if server ~= '' and state[3] ~= server then state[2] = new_epoch(position) end
end
local before = position - tonumber(ARGV[4])
if before < 0 or user ~= '' and tonumber(state[6]) < tonumber(ARGV[5]) then return {'back'} end
if before < 1024 then
  local mark = state[8]
  if before > 0 then
    local at = tonumber(ARGV[4]) % 1024 * 4
    mark = redis.call('GETRANGE', KEYS[2], at, at + 3)
  end
  if mark ~= ARGV[6] then return {'back'} end
end
-- Where a mark says that all is there, who the server is does not matter.
if state[2] ~= ARGV[3] then return {'epoch', before < 1024 and state[2] or '', redis.call('HGET', meta, 'epochs')} end
if state[4] then return {'pending', state[4]} end
if user ~= '' and state[5] ~= state[7] then note('a' .. user, state[5]) end
