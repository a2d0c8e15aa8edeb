-- Floats in arrays, small function calls: the spectral norm of an infinite matrix, cut to n by n.
local n = 240

local function entry(i, j)
  local diagonal = i + j - 1
  return 1.0 / (diagonal * (diagonal - 1) * 0.5 + i)
end

local function times(x, y)
  for i = 1, n do
    local sum = 0.0
    for j = 1, n do
      sum = sum + x[j] * entry(i, j)
    end
    y[i] = sum
  end
end

local function times_transposed(x, y)
  for i = 1, n do
    local sum = 0.0
    for j = 1, n do
      sum = sum + x[j] * entry(j, i)
    end
    y[i] = sum
  end
end

local u, v, between = {}, {}, {}
for i = 1, n do
  u[i] = 1.0
end
for _ = 1, 10 do
  times(u, between)
  times_transposed(between, v)
  times(v, between)
  times_transposed(between, u)
end

local upper, lower = 0.0, 0.0
for i = 1, n do
  upper = upper + u[i] * v[i]
  lower = lower + v[i] * v[i]
end
return string.format("%.9f", math.sqrt(upper / lower))
