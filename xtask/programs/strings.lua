-- The string library: concatenation, gsub, find, gmatch, format, byte and char, rep and reverse.
local words = {}
for i = 1, 2000 do
  words[i] = string.format("%s%d", string.char(97 + i % 26, 97 + i * 7 % 26, 97 + i * 3 % 26), i)
end
local text = table.concat(words, " ")

local sum = 0
for round = 1, 18 do
  -- Growing a string piece by piece.
  local grown = ""
  for i = 1, 400 do
    grown = grown .. words[i] .. ","
  end
  sum = sum + #grown

  -- Patterns: replace by a string, by a function and by a table, match, plain search.
  local swapped, swaps = text:gsub("(%a+)(%d+)", "%2%1")
  local upper = text:gsub("%a+", string.upper)
  local chosen = text:gsub("%w+", { ax = "!", [words[round]] = "?" })
  sum = sum + swaps + #swapped + #chosen + upper:byte(round)
  for word, number in text:gmatch("(%l+)(%d+)") do
    sum = sum + #word + number // 1
  end
  sum = sum + text:find(words[2000 - round], 1, true)
  sum = sum + #(text:match("^(.-) " .. words[1000]))

  -- Formatting and reading numbers.
  local lines = {}
  for i = 1, 1500 do
    lines[i] = string.format("%5d %-8s %08.3f %x %q", i, words[i], i / 7, i * round, words[i])
  end
  local page = table.concat(lines, "\n")
  for number in page:gmatch("%d+%.%d+") do
    sum = sum + math.floor(tonumber(number) * 1000) % 10
  end

  -- Bytes.
  local bytes = 0
  for i = 1, #text do
    bytes = (bytes * 31 + text:byte(i)) % 65521
  end
  sum = sum + bytes + #text:reverse():rep(3, "-")
end
return sum
