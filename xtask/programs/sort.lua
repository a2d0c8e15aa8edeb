-- Comparisons and swaps: table.sort with and without a comparator, and a quicksort written in Lua.
local state = 42
local function random()
  state = (state * 1103515245 + 12345) & 0x7fffffff
  return state >> 8
end

local function shuffled(n)
  local list = {}
  for i = 1, n do
    list[i] = random()
  end
  return list
end

local function quicksort(list, low, high)
  while low < high do
    local pivot = list[(low + high) // 2]
    local i, j = low, high
    repeat
      while list[i] < pivot do
        i = i + 1
      end
      while pivot < list[j] do
        j = j - 1
      end
      if i <= j then
        list[i], list[j] = list[j], list[i]
        i, j = i + 1, j - 1
      end
    until i > j
    if j - low < high - i then
      quicksort(list, low, j)
      low = i
    else
      quicksort(list, i, high)
      high = j
    end
  end
end

local function digest(list)
  local sum = 0
  for i, value in ipairs(list) do
    sum = (sum * 31 + value * i) & 0xffffffffff
  end
  return sum
end

local n = 100000
local plain = shuffled(n)
table.sort(plain)

local descending = shuffled(n)
table.sort(descending, function(a, b)
  return a > b
end)

local by_hand = shuffled(2 * n)
quicksort(by_hand, 1, #by_hand)

local words = {}
for i, value in ipairs(shuffled(n // 4)) do
  words[i] = "word" .. value
end
table.sort(words)

return digest(plain) .. " " .. digest(descending) .. " " .. digest(by_hand) .. " " .. words[1] .. " " .. words[#words]
