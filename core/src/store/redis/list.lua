-- Some of all tables. ARGV: a cursor, and how many. Gives the next cursor and, for each table, its number and what `meta` knows of it.
local part = redis.call('HSCAN', meta, ARGV[8], 'COUNT', ARGV[9])
local tables = {}
for i = 1, #part[2], 2 do
  if string.find(part[2][i], '^%d') then
    tables[#tables + 1] = part[2][i]
    tables[#tables + 1] = part[2][i + 1]
  end
end
return {ok, position, state[8], part[1], tables}
