-- Array reads and writes: the sieve of Eratosthenes, a few times over.
local limit = 1000000
local found, last = 0, 0
for _ = 1, 3 do
  local composite = {}
  for i = 1, limit do
    composite[i] = false
  end
  for i = 2, math.floor(math.sqrt(limit)) do
    if not composite[i] then
      for multiple = i * i, limit, i do
        composite[multiple] = true
      end
    end
  end
  found = 0
  for i = 2, limit do
    if not composite[i] then
      found, last = found + 1, i
    end
  end
end
return found * limit + last
