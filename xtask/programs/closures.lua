-- Making and calling closures: counters, composition, folding, upvalues that are written to.
local function counter(step)
  local total = 0
  return function()
    total = total + step
    return total
  end
end

local function compose(f, g)
  return function(x)
    return f(g(x))
  end
end

local function map(list, f)
  local result = {}
  for i = 1, #list do
    result[i] = f(list[i])
  end
  return result
end

local function fold(list, start, f)
  for i = 1, #list do
    start = f(start, list[i])
  end
  return start
end

local sum = 0

for i = 1, 300000 do
  local tick = counter(i)
  tick()
  sum = sum + tick()
end

local list = {}
for i = 1, 200 do
  list[i] = i
end
for round = 1, 2000 do
  local change = compose(function(x)
    return x * 3 + round
  end, function(x)
    return x - 1
  end)
  sum = sum + fold(map(list, change), 0, function(a, b)
    return (a + b) % 1000003
  end)
end

local chain = function(x)
  return x
end
for i = 1, 20 do
  chain = compose(chain, function(x)
    return x + i
  end)
end
for i = 1, 40000 do
  sum = sum + chain(i)
end
return sum
