-- Strings of 40 bytes with the hash of 'collide', up to its 16 lowest bits. The hash goes from the end to the start: of each pair, both parts change it
-- in the same way, and the starts are chosen for each name.
local parts = {{'@aa', 'aba'}, {'Bba', 'aca'}, {'Baa', 'aba'}, {'}aa', 'aba'}, {'@aa', 'aba'}, {'~aa', '!ba'}, {'_aa', 'Bba'}, {'@aa', 'aba'}, {'baa', 'Aba'}, {'caa', 'Bba'}, {'Daa', 'aba'}, {'cba', 'Bca'}}
local starts = {
  __mode = {'p8Ja', 'Q9Ja', '-:Ja', '-ROa'},
  __gc = {'p*va', 'Q+va', '2,va', 'M70a'},
  __name = {'|4ra', '[5ra', ':6ra', '[#Na'},
}
local list = {}
local function gen(i, s)
  if i > #parts then
    for _, start in ipairs(starts[collide]) do list[#list + 1] = start .. s end
    return
  end
  gen(i + 1, parts[i][1] .. s)
  gen(i + 1, parts[i][2] .. s)
end
gen(1, "")
