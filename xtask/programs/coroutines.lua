-- Switching between coroutines: generators, a pipeline of filters, recursion that yields, many that live at once.
local wrap, yield = coroutine.wrap, coroutine.yield
local sum = 0

-- A plain generator.
local function count_to(n)
  return wrap(function()
    for i = 1, n do
      yield(i, i * 2)
    end
  end)
end
for a, b in count_to(500000) do
  sum = sum + a + b
end

-- Primes by a growing chain of filters.
local function filter(divisor, source)
  return wrap(function()
    while true do
      local n = source()
      if n % divisor ~= 0 then
        yield(n)
      end
    end
  end)
end
local source = wrap(function()
  local n = 2
  while true do
    yield(n)
    n = n + 1
  end
end)
for _ = 1, 120 do
  local prime = source()
  sum = sum + prime
  source = filter(prime, source)
end

-- Permutations by recursion.
local function permute(list, n)
  if n == 0 then
    yield(list)
  else
    for i = 1, n do
      list[n], list[i] = list[i], list[n]
      permute(list, n - 1)
      list[n], list[i] = list[i], list[n]
    end
  end
end
for list in wrap(function() permute({ 1, 2, 3, 4, 5, 6, 7, 8 }, 8) end) do
  sum = sum + list[1] * 8 + list[8]
end

-- A thousand at once, resumed in turn, each ending on its own.
local threads = {}
for i = 1, 1000 do
  threads[i] = coroutine.create(function(step)
    local total = 0
    while total < 2000 do
      total = total + step
      step = yield(total)
    end
    return total
  end)
end
local alive = #threads
local turn = 0
while alive > 0 do
  turn = turn + 1
  alive = 0
  for i, thread in ipairs(threads) do
    if coroutine.status(thread) ~= "dead" then
      local _, total = coroutine.resume(thread, i % 17 + 10)
      sum = sum + total
      alive = alive + 1
    end
  end
end
return sum + turn
