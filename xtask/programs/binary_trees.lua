-- Allocation and garbage collection: many short-lived trees beside one that stays.
local function grow(depth)
  if depth == 0 then
    return {}
  end
  return { grow(depth - 1), grow(depth - 1) }
end

local function count(tree)
  local left = tree[1]
  if not left then
    return 1
  end
  return 1 + count(left) + count(tree[2])
end

local deepest = 13
local kept = grow(deepest)
local sum = 0
for depth = 4, deepest, 3 do
  for _ = 1, 1 << (deepest - depth + 3) do
    sum = sum + count(grow(depth))
  end
end
return sum + count(kept)
