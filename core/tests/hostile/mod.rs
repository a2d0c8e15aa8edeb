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
    ("plain find", "local s, p = ('a'):rep(2 ^ 22), ('a'):rep(2 ^ 21) .. 'b' while true do s:find(p, 1, true) end"),
    ("find without magic", "local s, p = ('a'):rep(2 ^ 22), ('a'):rep(2 ^ 21) .. 'b' while true do s:find(p) end"),
    ("back references", "local s = ('x'):rep(2 ^ 16) while true do s:find('(.+)%1y') end"),
    (
        "strings up to a zero",
        "local s = ('x'):rep(2 ^ 21) while true do pcall(string.unpack, 'z', s) string.pack('z', s) end",
    ),
    ("width of a long string", "local s = ('x'):rep(2 ^ 22) while true do string.format('%5s', s) end"),
    ("precision of a long string", "local s = ('x'):rep(2 ^ 22) while true do string.format('%.3s', s) end"),
    (
        "finalizers for old tables",
        "local t = {} for i = 1, 50000 do t[i] = {} end while true do for i = 1, #t do setmetatable(t[i], {__gc = print}) end end",
    ),
    (
        "modes of the collector",
        "local t = {} for i = 1, 50000 do t[i] = {} end while true do collectgarbage('generational') collectgarbage('incremental') end",
    ),
    (
        "integers that collide after a rehash",
        "while true do local t, m = {}, 2 ^ 18 - 1 | 0 for j = 1, 2 ^ 17 + 1 do t[j * m] = true end end",
    ),
    (
        "integers that collide and push others away",
        "while true do local t, m = {}, 2 ^ 18 - 1 | 0 for j = 1, 2 ^ 16 do t[j * m] = true end for j = 1, 2 ^ 16 do t[j * m + j] = true end end",
    ),
    ("strings that collide", COLLIDING),
    ("names that collide", COLLIDING_NAMES),
    (
        "a chain of ephemerons",
        "local k, p, e = {}, {}, setmetatable({}, {__mode = 'k'}) for i = 1, 30000 do k[i] = {} p[i] = i end math.randomseed(1) for i = #p, 2, -1 do local j = math.random(i) p[i], p[j] = p[j], p[i] end for i = 1, #p - 1 do e[k[p[i]]] = k[p[i + 1]] end local first = k[p[1]] k = nil while true do collectgarbage() end",
    ),
    (
        "ephemerons that lead to each other",
        "local first = {} local k = first while true do local e = setmetatable({}, {__mode = 'k'}) for i = 1, 100 do local n = {} e[k] = {n, e} k = n end first[#first + 1] = e collectgarbage('step', 1000) end",
    ),
    (
        "many results through many frames",
        "local big = table.move({1}, 1, 1, 300000, {}) local function deep(n) if n == 0 then return table.unpack(big, 1, 300000) end return nil, deep(n - 1) end while true do local x = (deep(1000)) end",
    ),
    (
        "many arguments to a function that gives them back",
        "local t = {} for i = 1, 200000 do t[i] = i end local function f(...) return ... end while true do f(f(f(f(table.unpack(t))))) end",
    ),
    (
        "deep stack",
        "local function f(n) if n == 0 then while true do debug.getinfo(100000, 'l') end end return (f(n - 1)) end f(150000)",
    ),
    ("lines of long code", "local f = load(('x = 1 '):rep(100000)) while true do debug.getinfo(f, 'L') end"),
    ("long numerals", "local s = ('0'):rep(2 ^ 22) while true do tonumber(s) end"),
    ("numerals of a loop", "local s = ('0'):rep(2 ^ 22) while true do for i = s, 1 do end end"),
    ("length of a kept table", "for i = 1, 20000 do _home[i] = i end while true do local n = #_home end"),
    ("large tables become kept ones", "while true do local t = {} for i = 1, 20000 do t[i] = i end _home.x = t end"),
    (
        "comparisons one after another",
        "A, B = ('x'):rep(2 ^ 22) .. 'a', ('x'):rep(2 ^ 22) .. 'b' local f = load(('_ = A < B '):rep(20000)) while true do f() end",
    ),
    (
        "equality one after another",
        "A, B = ('x'):rep(2 ^ 22) .. 'a', ('x'):rep(2 ^ 22) .. 'b' local f = load(('_ = A == B '):rep(20000)) while true do f() end",
    ),
    (
        "concatenations one after another",
        "A = ('x'):rep(2 ^ 22) local f = load(('_ = A .. A '):rep(20000)) while true do f() end",
    ),
    (
        "calls one after another",
        "A = ('x'):rep(2 ^ 22) local f = load(('_ = A:rep(2) '):rep(20000)) while true do f() end",
    ),
    (
        "lengths one after another",
        "for i = 1, 2000 do _home[i] = i end local f = load(('_ = #_home '):rep(20000)) while true do f() end",
    ),
    ("arithmetic on text", "A = ('0'):rep(2 ^ 20) local f = load(('_ = A + 1 '):rep(20000)) while true do f() end"),
    ("long keys", "while true do local s = ('x'):rep(2 ^ 22) .. math.random() local t = {[s] = 1} end"),
    ("sets of characters", "local s = ('x'):rep(2 ^ 22) while true do s:find('[^x]') end"),
    ("the largest of many", "while true do math.max(0, ('x'):rep(100000):byte(1, -1)) end"),
];

/// 8192 different strings of 39 bytes with the same hash.
macro_rules! colliding {
    ($then:literal) => {
        concat!(
            "local blocks = {} for a, b in ('Baa aba Baa aba cba Bca caa Bba 1aa oca Caa bba Faa cba 0aa nca 0aa nca Baa aba Daa aba Bba aca Baa aba'):gmatch('(%S+) (%S+)') do table.insert(blocks, 1, {[0] = a, b}) end ",
            "local all = {} for i = 0, 2 ^ 13 - 1 do local s = {} for k = 1, 13 do s[k] = blocks[k][i >> (k - 1) & 1] end all[i + 1] = table.concat(s) end ",
            $then
        )
    };
}

const COLLIDING: &str = colliding!(
    "while true do local new = {} for i = #all, 1, -1 do new[#new + 1] = all[i]:sub(1, 38) .. all[i]:sub(39) end collectgarbage() end"
);
const COLLIDING_NAMES: &str = colliding!(
    "T = {} for i, s in ipairs(all) do T[s] = i end local f = load(('_ = T.' .. 'x' .. ' '):rep(100) .. ('_ = T.' .. all[1] .. ' '):rep(20000)) while true do f() end"
);
