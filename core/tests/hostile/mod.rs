//! Scripts that try to get away, for the tests and the benchmark.

/// Name and source. They do not end by themselves, or not in this century.
pub const HOSTILE: &[(&str, &str)] = &[
    ("tight loop", "while true do end"),
    ("numeric loop", "for i = 1, math.huge do end"),
    ("goto", "::again:: goto again"),
    ("pcall loop", "while true do pcall(function() while true do end end) end"),
    ("xpcall handler", "xpcall(error, function() while true do end end)"),
    (
        "handler of handlers",
        "while true do xpcall(function() while true do end end, function(m) return pcall(function() while true do end end) end) end",
    ),
    ("coroutines in coroutines", "local function f() while true do pcall(coroutine.wrap(f)) end end f()"),
    ("coroutine that never yields", "coroutine.wrap(function() while true do end end)()"),
    (
        "close of a coroutine",
        "local co = coroutine.create(function() local x <close> = setmetatable({}, {__close = function() while true do end end}) coroutine.yield() end) coroutine.resume(co) coroutine.close(co)",
    ),
    ("gc handler", "setmetatable({}, {__gc = function() while true do end end}) while true do local t = {} end"),
    (
        "gc handler that comes back",
        "local function again() setmetatable({}, {__gc = again}) end again() while true do local t = {} end",
    ),
    ("close handler", "do local x <close> = setmetatable({}, {__close = function() while true do end end}) end"),
    (
        "close handler after an error",
        "local x <close> = setmetatable({}, {__close = function() while true do end end}) error('x')",
    ),
    ("exponential find", "string.find(('a'):rep(60), ('a*'):rep(30) .. 'b')"),
    ("exponential gsub", "string.gsub(('a'):rep(60), ('a-'):rep(30) .. 'b', '')"),
    ("exponential gmatch", "for _ in string.gmatch(('a'):rep(60), ('a?'):rep(60) .. ('a*'):rep(20) .. 'b') do end"),
    ("balance", "while true do string.find(('('):rep(10000), '%b()') end"),
    ("rep", "while true do local s = ('x'):rep(1000000) end"),
    ("concat", "local t = {} for i = 1, 10000 do t[i] = 'x' end while true do local s = table.concat(t, ',') end"),
    (
        "lying comparator",
        "local t = {} for i = 1, 100000 do t[i] = i end while true do pcall(table.sort, t, function() return true end) end",
    ),
    ("sort", "local t = {} for i = 1, 100000 do t[i] = i end while true do table.sort(t) end"),
    ("huge load", "while true do load(('x = 1 '):rep(100000)) end"),
    ("load of a function", "load(function() return 'x = 1 ' end)"),
    ("format", "while true do local s = string.format('%99.99f', 1e308) end"),
    (
        "metamethod recursion",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k + 1] end while true do pcall(function() return t[1] end) end",
    ),
    (
        "chain of __index",
        "local f = setmetatable({}, {__index = function() return nil end}) local t = f for i = 1, 100 do local u = t t = setmetatable({}, {__index = function(_, k) return u[k] end}) end while true do local x = t.x end",
    ),
    (
        "chain of tables",
        "local t = {} for i = 1, 1000 do t = setmetatable({}, {__index = t}) end while true do local x = t.x end",
    ),
    ("tostring", "local t = setmetatable({}, {__tostring = function() while true do end end}) print(t)"),
    ("error that is a loop", "error(setmetatable({}, {__tostring = function() while true do end end}))"),
    ("unpack", "while true do select('#', table.unpack({}, 1, 200)) end"),
    ("move", "local t = {} while true do table.move(t, 1, 1000000, 2) end"),
    ("insert in front", "local t = {} while true do table.insert(t, 1, 1) if #t > 20000 then t = {} end end"),
    (
        "next over holes",
        "local t = {} for i = 1, 100000 do t[i] = i end for i = 1, 100000 do t[i] = nil end while true do next(t) end",
    ),
    ("len of holes", "local t = {} for i = 1, 2 ^ 16 do t[i] = 1 end while true do local n = #t end"),
    ("collectgarbage", "while true do collectgarbage() end"),
    ("utf8", "while true do utf8.len(('ä'):rep(100000)) end"),
    (
        "pack",
        "local t = {} for i = 1, 100 do t[i] = i end while true do string.pack(('i8'):rep(100), table.unpack(t)) end",
    ),
    ("home", "while true do _home.x = 1 end"),
    ("home pairs", "for i = 1, 10000 do _home[i] = i end while true do for k in pairs(_home) do end end"),
    (
        "traceback",
        "local function f(n) if n == 0 then while true do debug.traceback() end end return (f(n - 1)) end f(150)",
    ),
    ("string keys", "local t = {} local i = 0 while true do i = i + 1 t['key' .. (i % 100000)] = i end"),
    ("rawequal long strings", "local a, b = ('x'):rep(1000000), ('x'):rep(1000000) while true do local c = a == b end"),
    (
        "comparison of strings",
        "local a, b = ('x'):rep(1000000) .. 'a', ('x'):rep(1000000) .. 'b' while true do local c = a < b end",
    ),
    ("tonumber", "local s = ('1'):rep(190) while true do tonumber(s) end"),
    ("reverse", "local s = ('x'):rep(1000000) while true do s:reverse() end"),
    ("byte", "local s = ('x'):rep(200) while true do s:byte(1, -1) end"),
    ("os.date", "while true do os.date(('%c'):rep(100)) end"),
];
