-- Some of all tables. ARGV: a cursor, and how many. Gives the next cursor and, for each table, its number and what `meta` knows of it.
local part = redis.call('HSCAN', meta, ARGV[6], 'COUNT', ARGV[7])
local tables = {}
for i = 1, #part[2], 2 do
  if string.find(part[2][i], '^%d') then
    tables[#tables + 1] = part[2][i]
    tables[#tables + 1] = part[2][i + 1]
  end
end
return {'ok', position, part[1], tables}
