-- Times one file under a Lua that is installed: prints nanoseconds of processor time, a tab and the result, as native.c does.
local file = assert(io.open(arg[1], "rb"))
local source = file:read("a")
file:close()
local start = os.clock()
local result = assert(load(source, "=program"))()
io.write(string.format("%.0f\t%s\n", (os.clock() - start) * 1e9, tostring(result)))
