//! What a script may try.

/// One attempt: the body of a function.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    pub name: &'static str,
    pub body: &'static str,
    /// Nothing but a limit ends it, which is none of memory, output, store and host calls.
    pub endless: bool,
}

const fn endless(name: &'static str, body: &'static str) -> Attempt {
    Attempt { name, body, endless: true }
}

const fn attempt(name: &'static str, body: &'static str) -> Attempt {
    Attempt { name, body, endless: false }
}

/// All of them.
pub const ATTEMPTS: &[Attempt] = &[
    // Loops.
    endless("while", "while true do end"),
    endless("repeat", "repeat until false"),
    endless("for of integers", "for i = 1, math.maxinteger do end"),
    endless("for of floats", "for i = 1.0, math.huge do end"),
    endless("for in", "for _ in function() return 1 end do end"),
    endless("for of a built-in", "for _ in math.abs, 1, 1 do end"),
    endless("goto", "::again:: goto again"),
    endless("tail calls", "local function f() return f() end return f()"),
    endless("tail calls by pcall", "local function f() return f() end while true do pcall(f) end"),
    endless("caught errors", "while true do pcall(error, 'x') end"),
    endless("caught loops", "while true do pcall(function() while true do end end) end"),
    endless(
        "handled loops",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
    ),
    endless(
        "coroutines that yield",
        "local co = coroutine.wrap(function() while true do coroutine.yield() end end) while true do co() end",
    ),
    endless("coroutines", "while true do coroutine.wrap(function() end)() end"),
    endless("coroutines that are closed", "while true do coroutine.close(coroutine.create(function() end)) end"),
    attempt("coroutines in each other", "local function f() while true do pcall(coroutine.wrap(f)) end end f()"),
    endless(
        "an own call",
        "local t = {} for i = 1, 200 do t = setmetatable({}, {__index = t}) end while true do local x = t.x end",
    ),
    attempt("__call of itself", "local t = {} setmetatable(t, {__call = t}) t()"),
    attempt("a chain of __call", "local f = print for i = 1, 300 do f = setmetatable({}, {__call = f}) end f()"),
    attempt("__index of itself", "local t = {} setmetatable(t, {__index = t, __newindex = t}) t.x = t.y"),
    // Memory.
    attempt("tables", "local t = {} while true do t[#t + 1] = {} end"),
    attempt("tables in tables", "local t while true do t = {t} end"),
    attempt("a long array", "local t = {} for i = 1, math.maxinteger do t[i] = i end"),
    attempt("many keys", "local t = {} for i = 1, math.maxinteger do t['key' .. i] = i end"),
    attempt("keys that collide", "local t, m = {}, (1 << 18) - 1 for j = 1, (1 << 17) + 1 do t[j * m] = true end"),
    attempt("closures", "local t = {} while true do t[#t + 1] = function() return t end end"),
    attempt("coroutines that are kept", "local t = {} while true do t[#t + 1] = coroutine.create(print) end"),
    attempt(
        "running coroutines",
        "local t = {} while true do local co = coroutine.wrap(function(...) coroutine.yield(...) end) co(1, 2, 3) t[#t + 1] = co end",
    ),
    attempt("strings", "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end"),
    attempt("a string that doubles", "local s = 'x' while true do s = s .. s end"),
    endless(
        "a string that doubles, caught",
        "while true do pcall(function() local s = 'x' while true do s = s .. s end end) end",
    ),
    endless("tables, caught", "while true do pcall(function() local t = {} while true do t[#t + 1] = {} end end) end"),
    endless(
        "huge rep",
        "while true do pcall(string.rep, 'x', 1 << 40) pcall(string.rep, 'x', 1 << 30) pcall(string.rep, '', 1 << 62) end",
    ),
    endless("large strings", "while true do local s = ('x'):rep(1000000) end"),
    endless("garbage", "while true do local t = {{}, {}} end"),
    attempt(
        "one string in each slab",
        "local base = ('abcdefgh'):rep(100) local keep = {} for len = 41, 489, 8 do collectgarbage('stop') local k, per = {}, 4060 // ((len + 24) // 8 * 8) pcall(function() while true do for j = 1, per - 1 do local s = base:sub(1, len) end k[#k + 1] = base:sub(1, len) if #k % 50 == 0 and collectgarbage('count') > 1500 then return end end end) keep[#keep + 1] = k collectgarbage('restart') collectgarbage() end",
    ),
    attempt(
        "many results",
        "local big = {} for i = 1, 200000 do big[i] = 1 end local function deep(n) if n == 0 then return table.unpack(big) end return nil, deep(n - 1) end return (deep(10000))",
    ),
    attempt(
        "many arguments",
        "local function f(...) return select('#', ...), ... end local t = {} for i = 1, 100000 do t[i] = i end while true do f(f(f(table.unpack(t)))) end",
    ),
    attempt("variable arguments", "local function f(...) return f(1, ...) end f()"),
    endless("closing many", "while true do local f = load(('local x <close> = nil '):rep(150)) f() end"),
    // Depth.
    attempt("recursion", "local function f() return f() + 1 end f()"),
    endless("recursion, caught", "local function f() return f() + 1 end while true do pcall(f) end"),
    attempt("recursion by pcall", "local function f() return pcall(f) end f()"),
    attempt("recursion by xpcall", "local function f() return xpcall(f, f) end f()"),
    attempt("recursion by gsub", "local function f() return ('x'):gsub('.', f) end f()"),
    attempt("recursion by sort", "local function f() table.sort({1, 2, 3}, f) end f()"),
    attempt(
        "recursion by metamethods",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k + 1] end return t[1]",
    ),
    attempt(
        "recursion by tostring",
        "local m = {} m.__tostring = function(t) return tostring(t) end tostring(setmetatable({}, m))",
    ),
    attempt("recursion by load", "local function f() return load(f) end f()"),
    attempt("recursion by coroutines", "local function f() return coroutine.wrap(f)() end f()"),
    attempt("recursion by require", "package.searchers[1] = function(n) return require(n .. 'x') end require('x')"),
    attempt("recursion by runs", "entry = function() run('entry()') end entry()"),
    attempt("recursion by calls of the host", "local function f() return call(f) end f()"),
    attempt("recursion in messages", "local function f(m) return error(m) end xpcall(error, f, 'x')"),
    attempt(
        "recursion by __gc",
        "local function again() setmetatable({}, {__gc = again}) collectgarbage() end again()",
    ),
    attempt(
        "recursion by __close",
        "local function again() local x <close> = setmetatable({}, {__close = again}) error('x') end again()",
    ),
    attempt(
        "deep source",
        "load('return ' .. ('('):rep(100000) .. '1') load(('do '):rep(100000)) load(('{'):rep(100000)) load('return ' .. ('-'):rep(100000) .. '1') load('x = ' .. ('function() '):rep(100000)) load('return ' .. ('a.'):rep(100000))",
    ),
    attempt(
        "deep patterns",
        "pcall(string.find, ('('):rep(100000), ('('):rep(100000)) string.find(('a'):rep(300000), ('a?'):rep(300000)) string.match(('a'):rep(300000), ('.-'):rep(300) .. 'b')",
    ),
    attempt("deep tables", "local t = {} for i = 1, 100000 do t = {t} end host(t) _home.deep = t return t"),
    attempt("deep keys", "local t = {} for i = 1, 100000 do t = {[t] = 1} end host(t) return t"),
    // Output.
    attempt("print", "while true do print('x') end"),
    attempt("print of much", "while true do print(('x'):rep(10000), ('y'):rep(10000)) end"),
    endless("print, caught", "while true do pcall(print, ('x'):rep(100)) end"),
    // Stored tables.
    attempt("store", "for i = 1, math.huge do _home[i] = i end"),
    attempt("store much", "for i = 1, math.huge do _home['key' .. i] = ('x'):rep(1000) end"),
    attempt("store long keys", "for i = 1, math.huge do _home[('k'):rep(10000) .. i] = i end"),
    attempt("store a table of many", "local t = {} for i = 1, 50000 do t[i] = i end _home.t = t"),
    attempt("store tables", "local t = {} while true do t = {t} _home.deep = t end"),
    attempt("store functions", "while true do local n = 0 _home.f = function() n = n + 1 return n end _home.f() end"),
    attempt("store tables that stay", "g = {} for i = 1, math.huge do local t = {i} g[i] = t _home[i] = t end"),
    attempt("store a chain", "local a = {} _home.a = a while true do local t = {a} a.x = t a = t end"),
    endless("store the same", "while true do _home.x = 1 end"),
    endless("delete what is not there", "local i = 0 while true do i = i + 1 _home['key' .. i] = nil end"),
    endless("read what is not there", "local i = 0 while true do i = i + 1 local x = _home['key' .. i] end"),
    endless("delete long keys", "local k, i = ('k'):rep(10000), 0 while true do i = i + 1 _home[k .. i] = nil end"),
    endless("put and delete", "local i = 0 while true do i = i + 1 _home[i] = i _home[i] = nil end"),
    endless("length of what is kept", "for i = 1, 40 do _home[i] = i end while true do local n = #_home end"),
    endless(
        "pairs of what is kept",
        "for i = 1, 40 do _home[i] = i end while true do for k, v in pairs(_home) do end end",
    ),
    attempt("tables of ext", "while true do ext.table().x = 1 end"),
    attempt(
        "tables of ext in a chain",
        "local t = ext.table() for i = 1, 3000 do local u = ext.table() u.n = t t = u end error('x')",
    ),
    attempt(
        "tables of ext, all kept",
        "local all = {} for i = 1, 20000 do all[i] = ext.table() end for i = 2, #all do all[i].n = all[i - 1] end all = {all[#all]} collectgarbage() error('x')",
    ),
    attempt(
        "a kept table as a metatable",
        "local m = ext.table() m.__gc = function() local t = {} for i = 1, 100 do t[i] = {} end end m.__index = m for i = 1, 3000 do setmetatable({i}, m) local x = {i} end",
    ),
    attempt(
        "a metatable that is kept",
        "local m = {__gc = function() end, __index = function() return 1 end} local t = setmetatable({}, m) _home.m = m local x = t.x t = nil collectgarbage()",
    ),
    // The host.
    attempt("calls of the host", "while true do host() end"),
    endless("calls of the host, caught", "while true do pcall(host, 1) end"),
    attempt("much to the host", "while true do host(('x'):rep(100000)) end"),
    attempt("tables to the host", "local t = {} for i = 1, 10000 do t[i] = {i} end while true do host(t) end"),
    attempt(
        "nothing to the host",
        "local t = table.pack(table.unpack({}, 1, 200000)) while true do host(table.unpack(t, 1, t.n)) end",
    ),
    attempt("functions to the host", "while true do host(function() end) end"),
    attempt("errors of the host", "while true do pcall(fail, ('x'):rep(100000)) end"),
    attempt("runs in runs", "while true do run('return 1') end"),
    attempt("runs in runs that fail", "while true do pcall(run, 'error(\"x\")') end"),
    attempt("loops in runs in runs", "while true do pcall(run, 'while true do end') end"),
    attempt("source without end", "run(('x = 1 '):rep(100000))"),
    attempt("many modules", "local i = 0 while true do i = i + 1 pcall(require, 'module' .. i) end"),
    // Errors.
    attempt("a huge error", "error(('x'):rep(3000000))"),
    attempt("a huge error in lines", "error(('x\\n'):rep(1000000))"),
    attempt("an error that is a table", "error({('x'):rep(1000000)})"),
    attempt("an error of tables in tables", "local t = {} for i = 1, 50000 do t = {t} end error(t)"),
    attempt(
        "an error with a loop for text",
        "error(setmetatable({}, {__tostring = function() while true do end end}))",
    ),
    attempt("an error whose text fails", "error(setmetatable({}, {__tostring = error, __name = ('x'):rep(1000000)}))"),
    attempt("no error", "error(nil)"),
    attempt("a coroutine for an error", "error(coroutine.create(print))"),
    attempt("a function for an error", "error(function() end)"),
    attempt("bytes for an error", "error('\\0\\255\\254\\27[2J')"),
    attempt("an error with a level", "error('x', 1 << 40)"),
    attempt("errors that are huge, caught", "while true do pcall(error, ('x'):rep(1000000)) end"),
    // Code without loops.
    attempt("straight code", "A = ('x'):rep(1000000) B = A:sub(1, -2) .. 'y' load(('_ = A < B '):rep(5000))()"),
    attempt("straight concatenation", "A = ('x'):rep(500000) load(('_ = A .. A '):rep(5000))()"),
    attempt(
        "straight equality",
        "A = ('x'):rep(1000000) .. 'a' B = ('x'):rep(1000000) .. 'a' load(('_ = A == B '):rep(5000))()",
    ),
    attempt("straight tables", "load(('_ = {' .. ('nil,'):rep(2000) .. '} '):rep(100))()"),
    endless("huge source", "local s = ('x = 1 '):rep(100000) while true do load(s) end"),
    endless(
        "source that is one string",
        "local s = 'return ' .. ('%q'):format(('x'):rep(500000)) while true do load(s) end",
    ),
    endless("source that is a comment", "local s = '--[[' .. ('x'):rep(1000000) .. ']]' while true do load(s) end"),
    endless(
        "many constants",
        "local t = {} for i = 1, 3000 do t[i] = 'x' .. i .. ' = ' .. i .. '.5' end local s = table.concat(t, ' ') while true do load(s) end",
    ),
    endless(
        "a comparison of strings",
        "local a, b = ('x'):rep(1000000) .. 'a', ('x'):rep(1000000) .. 'b' while true do local c = a < b or a == b end",
    ),
    endless(
        "a comparison of zeros",
        "local a, b = ('\\0'):rep(1000000) .. 'a', ('\\0'):rep(1000000) .. 'b' while true do local c = a < b end",
    ),
    // The collector.
    endless("collections", "while true do collectgarbage() end"),
    endless(
        "collections of much",
        "local t = {} for i = 1, 20000 do t[i] = {i} end while true do collectgarbage() end",
    ),
    endless(
        "modes of the collector",
        "local t = {} for i = 1, 20000 do t[i] = {} end while true do collectgarbage('generational') collectgarbage('incremental') end",
    ),
    endless(
        "steps",
        "local t = {} for i = 1, 20000 do t[i] = {} end while true do collectgarbage('step', 0) collectgarbage('step', 1 << 40) end",
    ),
    attempt(
        "parameters of the collector",
        "collectgarbage('incremental', 1000, 1000, 60) collectgarbage('setpause', 0) collectgarbage('setstepmul', 0) collectgarbage('generational', 100, 100) local t = {} for i = 1, 30000 do t[i] = {i} end",
    ),
    attempt("no collector", "collectgarbage('stop') while true do local t = {} end"),
    attempt(
        "ephemerons",
        "collectgarbage('stop') local N, k, p = 6000, {}, {} for i = 1, N do k[i] = {} p[i] = i end for i = N, 2, -1 do local j = (i * 7919) % i + 1 p[i], p[j] = p[j], p[i] end local e = setmetatable({}, {__mode = 'k'}) for i = 1, N - 1 do e[k[p[i]]] = k[p[i + 1]] end k = nil collectgarbage('restart') collectgarbage()",
    ),
    endless(
        "weak tables",
        "local w = setmetatable({}, {__mode = 'kv'}) for i = 1, 20000 do w[i] = {} w[{}] = i end while true do collectgarbage() end",
    ),
    endless(
        "finalizers of old objects",
        "local keep = {} for i = 1, 20000 do keep[i] = {} end collectgarbage() local m = {__gc = function() end} while true do for i = 1, 20 do setmetatable(keep[i], m) end end",
    ),
    attempt(
        "finalizers of all",
        "local m = {__gc = function() end} local t = {} for i = 1, 20000 do t[i] = setmetatable({}, m) end t = nil collectgarbage()",
    ),
    attempt(
        "objects that come back",
        "local t = {} local m = {} m.__gc = function(o) setmetatable(o, m) t[#t + 1] = o end for i = 1, 5000 do setmetatable({}, m) end while true do t = {} collectgarbage() end",
    ),
    // Libraries, at length.
    endless(
        "a plain search",
        "local a = ('a'):rep(1000000) local s, p = a .. a, a .. 'b' while true do s:find(p, 1, true) end",
    ),
    endless("back references", "local s = ('a'):rep(10000) while true do s:find('(a*)%1b') end"),
    endless("patterns", "while true do string.find(('a'):rep(60), ('a*'):rep(30) .. 'b') end"),
    endless("patterns without an end", "local s = ('a'):rep(500000) while true do s:find('.-b') s:gsub('a-b', '') end"),
    endless("balance", "local s = ('('):rep(500000) while true do s:find('%b()') end"),
    endless("sets", "local s, p = ('x'):rep(1000), '[' .. ('a-b'):rep(10000) .. ']' while true do s:find(p) end"),
    endless("text for a number", "local s = ('0'):rep(1000000) while true do tonumber(s) tonumber(s, 36) end"),
    endless(
        "text for a number in hex",
        "local s = '0x' .. ('f'):rep(1000000) .. '.8p1' while true do tonumber(s) local x = pcall(function() return s + 1 end) end",
    ),
    endless(
        "format of long text",
        "local s = ('x'):rep(1000000) while true do string.format('%.3s', s) string.format('%5s', s) end",
    ),
    endless("format of numbers", "while true do string.format('%99.99f', 1e308) string.format('%.99a', 1e-308) end"),
    endless("format of quotes", "local s = ('\\0\\n\\\\\"'):rep(200000) while true do string.format('%q', s) end"),
    endless(
        "unpack of zeros",
        "local s = ('x'):rep(1000000) while true do pcall(string.unpack, 'z', s) pcall(string.pack, 'z', s) pcall(string.unpack, 's4', s) end",
    ),
    endless(
        "pack",
        "while true do pcall(string.pack, ('!16 i16 Xi16'):rep(1000), 1) pcall(string.packsize, ('i16'):rep(10000)) end",
    ),
    endless(
        "sort",
        "local t = {} for i = 1, 20000 do t[i] = i % 7 end while true do pcall(table.sort, t, function(a, b) return true end) end",
    ),
    endless(
        "sort of long text",
        "local s, t = ('x'):rep(50000), {} for i = 1, 20 do t[i] = s .. (i * 7 % 20) end while true do table.sort(t) end",
    ),
    endless(
        "concat",
        "local t = {} for i = 1, 1000 do t[i] = ('x'):rep(1000) end while true do table.concat(t, ('y'):rep(1000)) end",
    ),
    attempt(
        "concat of nothing",
        "local t = setmetatable({}, {__index = function() return '' end}) table.concat(t, '', 1, math.maxinteger)",
    ),
    attempt("move", "table.move({}, 1, math.maxinteger - 1, 2)"),
    attempt("move in place", "local t = {} while true do table.move(t, 1, 1000000, 2) end"),
    attempt(
        "insert with a length of its own",
        "local t = setmetatable({}, {__len = function() return 1 << 60 end}) table.insert(t, 1, 1)",
    ),
    attempt("unpack", "while true do pcall(table.unpack, {}, 1, 1 << 40) pcall(table.unpack, {}, 1, 900000) end"),
    endless(
        "select",
        "local t = table.pack(table.unpack({}, 1, 100000)) while true do select(-1, table.unpack(t, 1, t.n)) end",
    ),
    endless(
        "next over holes",
        "local t = {} for i = 1, 100000 do t[i] = i end for i = 1, 100000 do t[i] = nil end while true do next(t) end",
    ),
    endless("length of holes", "local t = {} for i = 1, 1 << 16 do t[i] = 1 end while true do local n = #t end"),
    endless(
        "utf8",
        "local s = ('\\u{e4}'):rep(200000) while true do utf8.len(s) utf8.offset(s, 150000) utf8.codepoint(s, 1, 100) utf8.char(table.unpack({}, 1, 0)) end",
    ),
    endless(
        "bytes",
        "local s = ('x'):rep(100000) while true do pcall(string.byte, s, 1, -1) s:reverse() s:upper() end",
    ),
    endless(
        "dates",
        "while true do pcall(os.date, ('%c'):rep(1000), 0) pcall(os.time, {year = 1 << 31, month = 1 << 31, day = 1 << 31}) end",
    ),
    endless(
        "frames",
        "local function f(n) if n == 0 then while true do debug.getinfo(1000000) debug.traceback() debug.getinfo(1, 'nSltufrL') end end return (f(n - 1)) end f(3000)",
    ),
    endless(
        "long functions",
        "local f = load(('local a = 1 '):rep(150) .. ('x = 1 '):rep(50000) .. 'return debug.getinfo(1, \"L\"), debug.getlocal(1, 150)') while true do f() end",
    ),
    endless(
        "many locals",
        "local f = load(('do local a, b, c end '):rep(10000) .. 'return debug.getlocal(1, 1)') while true do f() debug.getlocal(f, 1) end",
    ),
    attempt("bigints", "local b = require('bigint') local x = b.new(3) while true do x = x * x end"),
    attempt(
        "text of bigints",
        "local b = require('bigint') local x = b.new(('7'):rep(20000)) while true do tostring(x) b.new(('7'):rep(20000)) end",
    ),
    // Not endless where 'require' itself is the way.
    attempt(
        "JSON text",
        "local j = require('json') local s = '[' .. ('{\"a\":[1.5,\"x\\\\u00e4\",null]},'):rep(20000) .. '1]' while true do j.decode(s) end",
    ),
    attempt(
        "text that is almost JSON",
        "local j = require('json') local s = ('\\n'):rep(1000000) .. '\"' .. ('x'):rep(1000000) while true do pcall(j.decode, s) end",
    ),
    attempt(
        "tables as JSON",
        "local j = require('json') local t = {('x\\0'):rep(1000), 0.1} for i = 1, 64 do t = {t, t} end while true do pcall(j.encode, t, {indent = 16}) end",
    ),
    attempt(
        "a stored table as JSON",
        "local j = require('json') local t = ext.table() for i = 1, 3000 do t[i] = i end while true do j.encode({t, t, t}) end",
    ),
    endless("dumps", "local f = load(('x = 1 '):rep(20000)) while true do pcall(string.dump, f) end"),
    endless("traces", "local s = ('x'):rep(1000000) while true do debug.traceback(s) end"),
    endless(
        "names",
        "local m = {__name = ('x'):rep(1000000)} local t = setmetatable({}, m) while true do pcall(tostring, t) pcall(string.rep, t) pcall(math.abs, t) end",
    ),
    attempt(
        "spoilt globals",
        "for k in pairs(_G) do if k ~= '_home' and k ~= '_G' then _G[k] = nil end end while true do end",
    ),
    attempt(
        "spoilt libraries",
        "for _, l in pairs(package.loaded) do if type(l) == 'table' and l ~= _G then for k in pairs(l) do l[k] = function() while true do end end end end end tostring(('x'):rep(3))",
    ),
    // Names that the host wants to have, and results.
    attempt("a name in the way", "added = false error('x')"),
    attempt(
        "a name in the way that runs code",
        "added = setmetatable({}, {__index = function() while true do end end, __newindex = function() while true do end end})",
    ),
    attempt("a name in the way that is kept", "added = ext.table()"),
    attempt(
        "globals that run code",
        "setmetatable(_G, {__index = function() while true do end end, __newindex = function() while true do end end})",
    ),
    attempt("a long result", "return ('x'):rep(4000000)"),
    attempt("many results that are nothing", "return table.unpack({}, 1, 200000)"),
    attempt("a result of many tables", "local t = {} for i = 1, 100000 do t[i] = {} end return t"),
    attempt(
        "a result of many functions",
        "local t = {} for i = 1, 20000 do t[i] = function() return i end end return t",
    ),
];
