//! Each library function with the worst that it may be given.

/// Gives an expression for each function that a script can reach, sorted.
pub const LIST_FUNCTIONS: &str = r#"
local own = {host = 1, fail = 1, call = 1, keep = 1, run = 1, wait = 1, entry = 1}
local found, seen, list = {}, {}, {}
local function walk(value, path, depth)
  if type(value) == "function" then
    if not found[value] then found[value] = path list[#list + 1] = path end
  elseif type(value) == "table" and not seen[value] and depth < 5 then
    seen[value] = true
    local keys = {}
    for k in next, value do if type(k) == "string" then keys[#keys + 1] = k end end
    table.sort(keys)
    for _, k in ipairs(keys) do
      if not own[k] then walk(rawget(value, k), path == "_G" and k or path .. "." .. k, depth + 1) end
    end
    if debug.getmetatable(value) then walk(debug.getmetatable(value), "debug.getmetatable(" .. path .. ")", depth + 1) end
  end
end
walk(_G, "_G", 0)
walk(require("bigint"), "require('bigint')", 0)
walk(getmetatable(require("bigint").new(1)), "getmetatable(require('bigint').new(1))", 0)
walk(require("json"), "require('json')", 0)
walk(getmetatable(""), "getmetatable('')", 0)
for i, f in ipairs(package.searchers) do walk(f, "package.searchers[" .. i .. "]", 0) end
walk(coroutine.wrap(print), "coroutine.wrap(print)", 0)
walk(("x"):gmatch("x"), "('x'):gmatch('x')", 0)
walk(select(1, utf8.codes("x")), "(utf8.codes('x'))", 0)
walk(ipairs({}), "(ipairs({}))", 0)
table.sort(list)
return table.unpack(list)
"#;

/// Values that nobody expects, as expressions.
const VALUES: &[&str] = &[
    // Numbers.
    "0",
    "1",
    "-1",
    "2",
    "16",
    "255",
    "100000",
    "10000000",
    "1 << 31",
    "(1 << 31) - 1",
    "-(1 << 31)",
    "1 << 32",
    "(1 << 32) + 1",
    "1 << 53",
    "math.maxinteger",
    "math.mininteger",
    "0.5",
    "1e15",
    "1e308",
    "1 / 0",
    "-1 / 0",
    "0 / 0",
    // Text.
    "''",
    "'x'",
    "'n'",
    "'k'",
    "'>nSltufrL'",
    "'collect'",
    "'generational'",
    "'incremental'",
    "'step'",
    "'__gc'",
    "'*t'",
    "'!%c%x%X'",
    "('x'):rep(1000000)",
    "('\\0'):rep(1000000)",
    "('0'):rep(1000000)",
    "'0x' .. ('f'):rep(1000000) .. 'p1'",
    "'1e' .. ('9'):rep(1000000)",
    "('9'):rep(10000)",
    "('\\u{e4}'):rep(300000)",
    "('\\xff'):rep(1000000)",
    "(' '):rep(1000000)",
    "('x\\n'):rep(500000)",
    "('a'):rep(60)",
    "('a*'):rep(30) .. 'b'",
    "('a-'):rep(30) .. 'b'",
    "('a?'):rep(60) .. ('a*'):rep(20) .. 'b'",
    "'(a*)%1b'",
    "('()'):rep(32)",
    "('('):rep(100000)",
    "'%b()'",
    "'%f[a]'",
    "'[' .. ('a-b'):rep(100000) .. ']'",
    "('.-'):rep(200) .. 'b'",
    "('%'):rep(1000)",
    "('%5.3s'):rep(1000)",
    "('%99.99f'):rep(300)",
    "'%s%s%q'",
    "('i16'):rep(10000)",
    "'!16 s8 z Xi16'",
    "'z'",
    "'<s8'",
    "'\\1\\0\\0\\0\\1\\0\\0\\0abc'",
    "('x = 1 '):rep(50000)",
    "'return ' .. ('('):rep(50000)",
    "'return ' .. ('{'):rep(50000)",
    "('local a '):rep(300)",
    "'\\27Lua'",
    "('a.'):rep(50000)",
    "('[1,'):rep(300) .. ('['):rep(100000)",
    "'[' .. ('{\"a\":[1.5,\"x\"]},'):rep(20000) .. '1]'",
    "'\"' .. ('\\\\u00e4'):rep(200000) .. '\"'",
    "'{' .. ('\"a\":0,'):rep(200000) .. '\"b\":' .. ('9'):rep(100000) .. '}'",
    // Tables.
    "{}",
    "{1, 2, 3}",
    "{('x'):rep(100000), ('x'):rep(100000), ('y'):rep(100000)}",
    "(function() local t = {} for i = 1, 50000 do t[i] = i end return t end)()",
    "(function() local t = {} for i = 1, 50000 do t['k' .. i] = i end return t end)()",
    "(function() local t = {} for i = 1, 50000 do t[i] = i end for i = 2, 50000 do t[i] = nil end return t end)()",
    "(function() local t = {} for i = 1, 50000 do t = {t} end return t end)()",
    "(function() local t = {} for i = 1, 50000 do t = setmetatable({}, {__index = t, __newindex = t}) end return t end)()",
    "(function() local t = {} t.t = t t[t] = t return setmetatable(t, t) end)()",
    "setmetatable({}, {__len = function() return math.maxinteger end, __index = function(_, i) return i end, __newindex = function() end})",
    "setmetatable({}, {__len = function() return 1 << 30 end, __index = function() return '' end})",
    "setmetatable({}, {__len = function() return -5 end, __tostring = function() return 7 end, __name = ('x'):rep(100000)})",
    "setmetatable({}, {__index = function(t, k) return t[k] end, __call = function(t, ...) return t(...) end})",
    "setmetatable({}, {__call = function(...) return ... end, __close = print, __gc = function() end, __mode = 'k', __metatable = false})",
    "(function() local t = {} return setmetatable(t, {__call = t, __index = t, __eq = t, __lt = t, __concat = t, __len = t}) end)()",
    "setmetatable({}, {__tostring = function() return ('x'):rep(1000000) end})",
    "setmetatable({}, {__pairs = function(t) return function() return 1 end end})",
    "{year = 1 << 40, month = -1 << 40, day = 0 / 0, hour = 1e308}",
    "{__gc = function() end, __mode = 'kv', __index = print, __name = {}}",
    "_G",
    "package.loaded",
    "_home",
    "_io",
    "ext.table()",
    "(function() local t = ext.table() for i = 1, 300 do t[i] = {i} end return t end)()",
    "(function() local t = ext.table() t.t = t return t end)()",
    // The rest.
    "nil",
    "true",
    "false",
    "print",
    "error",
    "pcall",
    "string.rep",
    "setmetatable",
    "coroutine.wrap(function() while true do coroutine.yield() end end)",
    "function() end",
    "function(...) return ... end",
    "function() return true end",
    "function() return 'x = 1 ' end",
    "function() error(('x'):rep(100000)) end",
    "function() local x <close> = setmetatable({}, {__close = function() error('y') end}) error('x') end",
    "load(('x = 1 '):rep(20000))",
    "load(('local a = 1 '):rep(190))",
    "coroutine.create(function() coroutine.yield() end)",
    "(function() local co = coroutine.create(function() local x <close> = setmetatable({}, {__close = function() error('x') end}) coroutine.yield() end) coroutine.resume(co) return co end)()",
    "(function() local function f(n) if n == 0 then coroutine.yield() end return (f(n - 1)) end local co = coroutine.create(f) coroutine.resume(co, 20000) return co end)()",
    "coroutine.running()",
    "require('bigint').new(('7'):rep(3000))",
    "require('bigint').new(-1)",
    "require('json').null",
    "require('json').array({})",
    "{indent = 16}",
    "(function() local t = {} for i = 1, 499 do t = {t} end return t end)()",
    "(function() local t = {} for i = 1, 64 do t = {t, t} end return t end)()",
    "host",
    "fail",
];

/// A body that calls a function, as often as the head of a loop says, with arguments that `pick(n)`, a number below n,
/// chooses.
pub fn call(function: &str, head: &str, mut pick: impl FnMut(usize) -> usize) -> String {
    let mut names = Vec::new();
    let mut body = format!("local f = {function} ");
    for at in 0..pick(5) {
        let value = VALUES.get(pick(VALUES.len())).copied().unwrap_or_default();
        body.push_str(&format!("local a{at} = {value} "));
        names.push(format!("a{at}"));
    }
    names.insert(0, "f".to_owned());
    body + &format!("{head} do pcall({}) end", names.join(", "))
}
