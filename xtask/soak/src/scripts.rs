//! What sandboxes are given to run.

/// Every sandbox begins with this.
pub const BEGIN: &str = "mine = secret() \
    function add(k) _home.n = _home.n + k _home.list[#_home.list % 20 + 1] = {k, tostring(k)} return _home.n, _home.secret, mine, secret() end \
    function work(n) local t = {} for i = 1, n do t[i] = {i, ('x'):rep(i % 50)} end table.sort(t, function(a, b) return a[2] < b[2] end) return #t end";

/// And with this, once.
pub const KEEP: &str = "_home.n = 0 _home.secret = secret() _home.list = {}";

/// Comes before each hostile script: nothing of it may be kept.
pub const STEAL: &str = "_home.n = -1 _home.secret = 'stolen' _home.list = {} ";

/// None of them ends by itself, or is within the limits.
pub const HOSTILE: &[&str] = &[
    "while true do end",
    "while true do pcall(function() while true do end end) end",
    "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
    "local t = {} while true do pcall(function() while true do t[#t + 1] = ('x'):rep(10000) .. #t end end) end",
    "local s = 'x' while true do s = s .. s end",
    "while true do print(('x'):rep(1000)) end",
    "for i = 1, math.huge do _home['key' .. i] = i end",
    "for i = 1, math.huge do _home[i] = ('x'):rep(1000) end",
    "local t = {} while true do t = {t} _home.deep = t end",
    "while true do secret() end",
    "local function f() return f() + 1 end return f()",
    "local function f() while true do pcall(coroutine.wrap(f)) end end f()",
    "string.find(('a'):rep(60), ('a*'):rep(30) .. 'b')",
    "setmetatable({}, {__gc = function() while true do end end}) while true do local t = {} end",
    "local x <close> = setmetatable({}, {__close = function() while true do end end}) error('x')",
    "error(setmetatable({}, {__tostring = function() while true do end end}))",
    "error({code = 1})",
    "local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end}) return t[1]",
    "return load(('x = 1 '):rep(100000))",
    "return require('somewhere')",
    "return {}, function() end, coroutine.create(print)",
    "this is no Lua",
    "for i = 1, 1000 do ext.table().x = ext.table() end error('all of that is garbage')",
    "string = nil table = {} _G.error('globals are only its own')",
];
