-- Backtracking: all ways to put ten queens on a ten by ten board so that none attacks another.
local size = 10
local column, rising, falling = {}, {}, {}
local placed = {}
local solutions, digest = 0, 0

local function place(row)
  if row > size then
    solutions = solutions + 1
    for i = 1, size do
      digest = (digest * 10 + placed[i]) % 1000000007
    end
    return
  end
  for c = 1, size do
    if not column[c] and not rising[row + c] and not falling[row - c] then
      column[c], rising[row + c], falling[row - c] = true, true, true
      placed[row] = c
      place(row + 1)
      column[c], rising[row + c], falling[row - c] = nil, nil, nil
    end
  end
end

for _ = 1, 5 do
  place(1)
end
return solutions * 1000000007 + digest
