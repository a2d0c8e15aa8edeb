-- Floats in local variables, tight loops: how many points of a grid stay in the Mandelbrot set.
local size, steps = 400, 50
local inside, digest = 0, 0
for row = 0, size - 1 do
  local ci = 2.0 * row / size - 1.0
  for column = 0, size - 1 do
    local cr = 2.0 * column / size - 1.5
    local zr, zi, zr2, zi2 = 0.0, 0.0, 0.0, 0.0
    local left = steps
    while left > 0 and zr2 + zi2 <= 4.0 do
      zi = 2.0 * zr * zi + ci
      zr = zr2 - zi2 + cr
      zr2, zi2 = zr * zr, zi * zi
      left = left - 1
    end
    if left == 0 then
      inside = inside + 1
    end
    digest = (digest * 3 + left) % 1000000007
  end
end
return inside * 1000000007 + digest
