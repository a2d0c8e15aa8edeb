//! Where Lua can run.

/// What the host does after the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Nothing,
    /// Runs this.
    Source(&'static str),
    /// Runs this in a transaction of several runs.
    Transaction(&'static str),
    /// Calls the global `entry`.
    Call,
    /// Calls the function that it was passed.
    Handle,
    Gc,
    Reset,
    Snapshot,
    Restore,
    Fork,
    Close,
}

/// One way. `attempt` is the function to be called.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub name: &'static str,
    pub source: &'static str,
    pub then: Then,
    /// The attempt runs and nothing on the way catches an error, so one without end ends by a limit.
    pub sure: bool,
    /// Without end itself.
    pub endless: bool,
    /// As a future.
    pub waits: bool,
}

const fn way(name: &'static str, source: &'static str) -> Way {
    Way { name, source, then: Then::Nothing, sure: true, endless: false, waits: false }
}

/// The attempt may not run at all, or its error is lost.
const fn loose(name: &'static str, source: &'static str) -> Way {
    Way { sure: false, ..way(name, source) }
}

const fn endless(name: &'static str, source: &'static str) -> Way {
    Way { endless: true, ..way(name, source) }
}

const fn and(name: &'static str, source: &'static str, then: Then) -> Way {
    Way { then, ..way(name, source) }
}

/// Garbage with a finalizer, which comes to its end when the host does this.
const fn finalizer(name: &'static str, then: Then) -> Way {
    Way { then, sure: false, ..way(name, "garbage = setmetatable({}, {__gc = attempt}) garbage = nil") }
}

/// A table `t` with every metamethod.
macro_rules! all_events {
    ($use:literal) => {
        concat!(
            "local m = {} for _, e in ipairs {'index', 'newindex', 'call', 'add', 'sub', 'mul', 'div', 'mod', 'pow', 'idiv', 'band', 'bor', 'bxor', ",
            "'shl', 'shr', 'unm', 'bnot', 'concat', 'len', 'eq', 'lt', 'le', 'tostring', 'pairs', 'close'} do m['__' .. e] = attempt end ",
            "local t, u = setmetatable({}, m), setmetatable({}, m) ",
            $use
        )
    };
}

macro_rules! events {
    ($($name:literal: $use:literal,)*) => { [$(way($name, all_events!($use))),*] };
}

/// Metamethods, by all that calls them.
const EVENTS: [Way; 35] = events! {
    "__index": "local x = t.x",
    "__index of a method": "t:x()",
    "__index of globals": "local _ENV = t local y = x",
    "__newindex": "t.x = 1",
    "__newindex of globals": "local _ENV = t x = 1",
    "__call": "t(1)",
    "__call by pcall": "local ok, e = pcall(t) error(e)",
    "__call in a tail call": "return t(1)",
    "__call as an iterator": "for _ in t do end",
    "__add": "local x = t + 1",
    "__sub of text": "local x = '10' - t",
    "__mod": "local x = 7 % t",
    "__pow": "local x = 2 ^ t",
    "__idiv": "local x = t // 1",
    "__band": "local x = t & 1",
    "__shl": "local x = 1 << t",
    "__unm": "local x = -t",
    "__bnot": "local x = ~t",
    "__concat": "local x = 'a' .. t .. 'b'",
    "__len": "local x = #t",
    "__eq": "local x = t == u",
    "__lt": "local x = t < u",
    "__le": "local x = t <= 1",
    "__lt in table.sort": "table.sort({t, u, t, u, t})",
    "__tostring": "tostring(t)",
    "__tostring by print": "print(1, t)",
    "__tostring by string.format": "string.format('%5s', t)",
    "__pairs": "for _ in pairs(t) do break end",
    "__index by ipairs": "for _ in ipairs(t) do break end",
    "__len by table.concat": "table.concat(t)",
    "__len by table.insert": "table.insert(t, 1)",
    "__len by table.unpack": "table.unpack(t)",
    "__index by table.unpack": "table.unpack(t, 1, 3)",
    "__index by table.move": "table.move(t, 1, 3, 2)",
    "__index by gsub": "string.gsub('abc', '%w', t)",
};

const LOOSE_EVENTS: [Way; 11] = [
    loose("__tostring of an error", all_events!("error(t)")),
    loose("__tostring of an error in a coroutine", all_events!("coroutine.wrap(error)(t)")),
    loose("__tostring by assert", all_events!("assert(false, t)")),
    loose("traceback", all_events!("print(debug.traceback(t), debug.traceback('x'))")),
    loose("results", all_events!("rawset(t, 1, u) return t, u")),
    loose("results that are tables with it", all_events!("return {t, {u, x = t}}")),
    loose("arguments of a host function", all_events!("host(t, {u})")),
    loose("values that are kept", all_events!("rawset(t, 1, {}) _home.t = t _home.u = {u}")),
    loose("keys", all_events!("local x = _home[t] _home[u] = 1")),
    loose("__index of what is kept", all_events!("_home.t = t local x = t.x, _home.t.x for _ in pairs(t) do end")),
    loose("bigint", all_events!("local b = require('bigint').new(7) local x = b + t")),
];

const REST: &[Way] = &[
    way("main chunk", "attempt()"),
    way("tail call", "return attempt()"),
    loose("pcall", "pcall(attempt)"),
    endless("pcall for ever", "while true do pcall(attempt) end"),
    loose("message handler", "xpcall(error, attempt)"),
    loose("message handler that fails", "xpcall(attempt, function(m) attempt(m) end)"),
    loose("message handler of a stack overflow", "local function f() return f() + 1 end xpcall(f, attempt)"),
    loose("coroutine", "coroutine.resume(coroutine.create(attempt))"),
    way("coroutine.wrap", "coroutine.wrap(attempt)()"),
    way(
        "coroutines in coroutines",
        "local function f(n) if n == 0 then return attempt() end return coroutine.wrap(f)(n - 1) end f(50)",
    ),
    loose(
        "a coroutine that goes on",
        "local co = coroutine.create(function() coroutine.yield() attempt() end) coroutine.resume(co) coroutine.resume(co)",
    ),
    loose(
        "coroutine.close",
        "local co = coroutine.create(function() local x <close> = setmetatable({}, {__close = attempt}) coroutine.yield() end) coroutine.resume(co) coroutine.close(co)",
    ),
    way(
        "an error in a coroutine",
        "coroutine.wrap(function() local x <close> = setmetatable({}, {__close = attempt}) error('x') end)()",
    ),
    way("__close", "do local x <close> = setmetatable({}, {__close = attempt}) end"),
    way("__close after an error", "local x <close> = setmetatable({}, {__close = attempt}) error('x')"),
    way("__close of a loop", "for _ in next, {1}, nil, setmetatable({}, {__close = attempt}) do break end"),
    endless("__close at a limit", "local x <close> = setmetatable({}, {__close = attempt}) while true do end"),
    endless(
        "__close at a limit in a coroutine",
        "coroutine.wrap(function() local x <close> = setmetatable({}, {__close = attempt}) while true do end end)()",
    ),
    way(
        "__close in __close",
        "local x <close> = setmetatable({}, {__close = function() local y <close> = setmetatable({}, {__close = attempt}) error('y') end}) error('x')",
    ),
    loose("__gc", "setmetatable({}, {__gc = attempt}) collectgarbage()"),
    loose("__gc in a step", "setmetatable({}, {__gc = attempt}) collectgarbage('step', 100000)"),
    loose(
        "__gc while it allocates",
        "for i = 1, 5 do setmetatable({}, {__gc = attempt}) end for i = 1, 20000 do local t = {i} end",
    ),
    loose(
        "__gc of the young",
        "collectgarbage('generational') for i = 1, 5 do setmetatable({}, {__gc = attempt}) end for i = 1, 20000 do local t = {i} end",
    ),
    loose(
        "__gc in an emergency",
        "setmetatable({}, {__gc = attempt}) local t = {} pcall(function() while true do t[#t + 1] = ('x'):rep(100000) .. #t end end) t = nil",
    ),
    endless(
        "__gc at a limit",
        "for i = 1, 10 do setmetatable({}, {__gc = attempt}) end while true do local t = {} end",
    ),
    endless(
        "__gc that comes back",
        "local function again() setmetatable({}, {__gc = function() again() attempt() end}) end again() while true do local t = {} end",
    ),
    loose(
        "__gc at the sweep",
        "setmetatable({}, {__gc = attempt}) for i = 1, 1500 do local t = ext.table() t.x = i _home.t = t end",
    ),
    finalizer("__gc in the next run", Then::Source("for i = 1, 20000 do local t = {i} end")),
    finalizer("__gc in the host's gc", Then::Gc),
    finalizer("__gc in reset", Then::Reset),
    finalizer("__gc in snapshot", Then::Snapshot),
    finalizer("__gc in restore", Then::Restore),
    finalizer("__gc in fork", Then::Fork),
    finalizer("__gc in close", Then::Close),
    way("comparator", "table.sort({3, 1, 2, 5, 4}, function(a, b) attempt() return a < b end)"),
    loose("a comparator that is it", "table.sort({3, 1, 2, 5, 4}, attempt)"),
    way("gsub", "string.gsub('abc', '.', attempt)"),
    way("gsub in gsub", "string.gsub('a', '.', function() return string.gsub('b', '.', attempt) end)"),
    way("load", "load('local f = ... return f()')(attempt)"),
    loose("reader of load", "load(attempt)"),
    way("load with an environment", "load('local x = y', 'x', 't', setmetatable({}, {__index = attempt}))()"),
    way("require", "entry = attempt require('entry')"),
    way("package.preload", "package.preload.own = attempt require('own')"),
    way("package.searchers", "table.insert(package.searchers, 1, attempt) require('own')"),
    way("package.loaded", "package.loaded = nil setmetatable(_G, {__index = attempt}) local x = undefined"),
    loose("methods of strings", "getmetatable('').__index = attempt local x = ('x').y"),
    way("a function of the host", "call(attempt)"),
    loose("a function of the host, caught", "pcall(call, attempt)"),
    way("a function of the host in a coroutine", "coroutine.wrap(function() call(attempt) end)()"),
    way("a coroutine that the host calls", "call(coroutine.wrap(attempt))"),
    way("a run in the run", "entry = attempt run('entry()')"),
    way("a run in a run in the run", "entry = attempt run('run(\"entry()\")')"),
    loose("handler of a host's error", "xpcall(fail, attempt)"),
    and("a call by the host", "entry = attempt", Then::Call),
    and("a function that the host keeps", "keep(attempt)", Then::Handle),
    and("a function that is kept", "_home.f = attempt", Then::Source("_home.f()")),
    and(
        "a function that is kept with upvalues",
        "local n, t = 0, {} _home.f = function() n = n + 1 t[1] = n return attempt(n) end",
        Then::Source("_home.f()"),
    ),
    and("a kept coroutine function", "_home.f = attempt", Then::Source("coroutine.wrap(_home.f)()")),
    and("a transaction", "entry = attempt", Then::Transaction("entry()")),
    Way { waits: true, ..way("a run that waits", "wait() attempt()") },
    Way { waits: true, ..way("waiting in a coroutine", "coroutine.wrap(function() wait() attempt() wait() end)()") },
    Way { waits: true, ..way("a run in a run that waits", "wait() entry = attempt run('entry()') wait()") },
    Way { waits: true, ..way("a function of the host while it waits", "wait() call(attempt) wait()") },
    way("a task", "require('task').spawn(attempt)"),
    loose("a task, waited for", "pcall(function() require('task').spawn(attempt):wait() end)"),
    way(
        "tasks in tasks",
        "local t = require('task') local function f(n) if n == 0 then return attempt() end t.spawn(f, n - 1):wait() end f(20)",
    ),
    loose("the first of a race", "pcall(require('task').race, attempt, attempt)"),
    endless(
        "__close of a task at a limit",
        "require('task').spawn(function() local x <close> = setmetatable({}, {__close = attempt}) while true do end end)",
    ),
    Way {
        waits: true,
        ..way("a task that waits", "local t = require('task').spawn(function() wait() attempt() end) wait() t:wait()")
    },
    Way {
        waits: true,
        ..way("tasks side by side", "local function f() wait() attempt() wait() end require('task').all(f, f, f)")
    },
    Way {
        waits: true,
        ..loose(
            "each of a list",
            "pcall(require('task').each, {1, 2, 3, 4, 5}, function() wait() attempt() end, {limit = 2})",
        )
    },
    Way {
        waits: true,
        ..loose(
            "__close of a cancelled task",
            "local t = require('task').spawn(function() local x <close> = setmetatable({}, {__close = attempt}) wait() end) t:cancel()",
        )
    },
    Way {
        waits: true,
        ..loose(
            "__close of tasks that a failure ends",
            "require('task').spawn(function() local x <close> = setmetatable({}, {__close = attempt}) wait() wait() end) wait() error('x')",
        )
    },
    Way {
        waits: true,
        ..way("a callback of the library that waits", "string.gsub('a', 'a', function() wait() attempt() end)")
    },
    Way {
        waits: true,
        ..way("require that waits", "package.preload.own = function() wait() attempt() end require('own')")
    },
    Way {
        waits: true,
        ..loose(
            "__tostring that waits",
            "print(setmetatable({}, {__tostring = function() wait() attempt() return 'x' end}))",
        )
    },
];

/// All of them.
pub const WAYS: [Way; EVENTS.len() + LOOSE_EVENTS.len() + REST.len()] = {
    let mut all = [way("", ""); EVENTS.len() + LOOSE_EVENTS.len() + REST.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < REST.len() {
            REST[at]
        } else if at < REST.len() + EVENTS.len() {
            EVENTS[at - REST.len()]
        } else {
            LOOSE_EVENTS[at - REST.len() - EVENTS.len()]
        };
        at += 1;
    }
    all
};
