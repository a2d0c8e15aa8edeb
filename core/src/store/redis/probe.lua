-- What the user may not do. KEYS[1]: a table that never is. What needs memory comes last, when something was written already.
local denied = {}
for _, call in ipairs({{'UNLINK'}, {'HDEL', 'x'}, {'HSET', 'x', 'x'}, {'HGET', 'x'}, {'HMGET', 'x'}, {'HLEN'}, {'HSTRLEN', 'x'}, {'HKEYS'}, {'HGETALL'},
    {'HEXISTS', 'x'}, {'HSCAN', '0'}, {'UNLINK'}, {'RPUSH', 'x', 'x'}, {'LLEN'}, {'LINDEX', '0'}, {'LPOP'}, {'EXPIRE', '60'}, {'PERSIST'}, {'UNLINK'},
    {'SETRANGE', '0', 'x'}, {'GETRANGE', '0', '0'}, {'UNLINK'},
    {'SADD', 'x'}, {'SCARD'}, {'SISMEMBER', 'x'}, {'SSCAN', '0'}, {'UNLINK'}}) do
  local answer = redis.pcall(call[1], KEYS[1], unpack(call, 2))
  if type(answer) == 'table' and answer.err then
    if string.find(answer.err, 'READONLY', 1, true) then return answer end
    denied[#denied + 1] = call[1] .. ': ' .. answer.err
  end
end
local time = redis.pcall('TIME')
if time.err then denied[#denied + 1] = 'TIME: ' .. time.err end
return denied
