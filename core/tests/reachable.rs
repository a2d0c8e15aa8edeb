//! All functions of C that a script can get hold of, from everywhere that code of a script runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;

use luacell::{ComputeOptions, Error, Sandbox, Table, Value};

/// What is reachable from the globals, and nothing else. A new built-in belongs into this list, an internal function
/// never.
const BUILT_IN: &str = "
    assert collectgarbage error getmetatable ipairs load next pairs pcall print rawequal rawget rawlen rawset require select setmetatable tonumber
    tostring type warn xpcall
    coroutine.close coroutine.create coroutine.isyieldable coroutine.resume coroutine.running coroutine.status coroutine.wrap coroutine.yield
    debug.getinfo debug.getlocal debug.getmetatable debug.getupvalue debug.setmetatable debug.setupvalue debug.traceback debug.upvalueid
    debug.upvaluejoin
    ext.table
    math.abs math.acos math.asin math.atan math.ceil math.cos math.cosh math.deg math.exp math.floor math.fmod math.frexp math.ldexp math.log
    math.log10 math.max math.min math.modf math.pow math.rad math.random math.randomseed math.sin math.sinh math.sqrt math.tan math.tanh
    math.tointeger math.type math.ult
    os.clock os.date os.difftime os.getenv os.time
    package.searchers.1 package.searchers.2 package.searchers.3
    string.byte string.char string.dump string.find string.format string.gmatch string.gsub string.len string.lower string.match string.pack
    string.packsize string.rep string.reverse string.sub string.unpack string.upper
    table.concat table.insert table.move table.pack table.remove table.sort table.unpack
    utf8.char utf8.codepoint utf8.codes utf8.len utf8.offset
    host.call host.nested host.report";

/// Names every function of C that a walk through tables, metatables and upvalues finds, and notes those that are found
/// later and have no name.
const WATCH: &str = r#"
    local getinfo, getlocal, getupvalue, kind = debug.getinfo, debug.getlocal, debug.getupvalue, type
    local next, rawget, tostring, getmetatable, pcall, sort = next, rawget, tostring, debug.getmetatable, pcall, table.sort
    known, strangers, looks = {}, {}, 0
    local function is_c(f) return getinfo(f, 'S').what == 'C' end
    local function walk(v, path, seen, found)
        local t = kind(v)
        if t == 'function' then
            if seen[v] then return end
            seen[v] = true
            if is_c(v) then found(v, path) end
            for i = 1, 255 do
                local name, value = getupvalue(v, i)
                if not name then break end
                walk(value, path .. '^' .. i, seen, found)
            end
        elseif t == 'table' then
            if seen[v] then return end
            seen[v] = true
            local keys = {} -- in order: some functions have two names
            for k in next, v do
                walk(k, path .. '.key', seen, found)
                keys[#keys + 1] = k
            end
            sort(keys, function(a, b) return tostring(a) < tostring(b) end)
            for i = 1, #keys do
                walk(rawget(v, keys[i]), path == '' and tostring(keys[i]) or path .. '.' .. tostring(keys[i]), seen, found)
            end
            walk(getmetatable(v), path .. '.meta', seen, found)
        end
    end
    function find_known()
        local names = {}
        local seen = {[known] = true, [strangers] = true, [find_known] = true, [allow] = true, [look] = true}
        -- libraries before the globals that lead to them, so that names do not depend on the order
        for _, lib in ipairs {'coroutine', 'debug', 'ext', 'math', 'os', 'package', 'string', 'table', 'utf8', 'host'} do
            if lib ~= 'package' then walk(_G[lib], lib, seen, function(f, path) known[f] = path names[#names + 1] = path end) end
        end
        for i, f in ipairs(package.searchers) do known[f] = 'searcher' seen[f] = true names[#names + 1] = 'package.searchers.' .. i end
        walk(_G, '', seen, function(f, path) known[f] = path names[#names + 1] = path end)
        table.sort(names)
        return table.concat(names, ' ')
    end
    function allow(f, name) known[f] = name return f end
    local function note(v, where)
        if kind(v) == 'function' and is_c(v) and not known[v] then strangers[#strangers + 1] = where .. ': ' .. tostring(v) known[v] = 'stranger' end
    end
    -- Looks at all that runs now, in this thread and in others.
    local function look_at(where, ...)
        for level = 0, 300 do
            local info
            if ... then info = getinfo(..., level, 'fL') else info = getinfo(level, 'fL') end
            if not info then break end
            note(info.func, where .. ' at level ' .. level)
            for i = -20, 40 do
                local ok, name, value
                if ... then ok, name, value = pcall(getlocal, ..., level, i) else ok, name, value = pcall(getlocal, level, i) end
                if ok and name then note(value, where .. ' local ' .. name) end
            end
        end
    end
    threads = {}
    function look(where)
        looks = looks + 1
        look_at(where)
        for i = 1, #threads do look_at(where .. ' thread ' .. i, threads[i]) end
    end
"#;

/// Every way in which C calls back into a script, each with a look around.
const WAYS: &str = r#"
    local function arm(where) setmetatable({}, {__gc = function() look('__gc in ' .. where) end}) end
    local function meta(where, events)
        local mt = {}
        for _, event in ipairs(events) do mt[event] = function(a) look(where .. ' ' .. event) return where end end
        return setmetatable({}, mt)
    end
    for _, how in ipairs {'generational', 'incremental'} do
        collectgarbage(how)
        for i = 1, 20 do arm(how) for j = 1, 300 do local t = {{}, 'x' .. j} end end
        arm('collectgarbage') collectgarbage() collectgarbage('step', 10000)
    end
    -- handlers of messages
    local function handler(where) return function(m) look('handler of ' .. where) return m end end
    for name, f in pairs {getlocal = function() debug.getlocal(99, 1) end, getupvalue = function() debug.getupvalue(1, 1) end,
        setupvalue = function() debug.setupvalue(1, 1) end, upvalueid = function() debug.upvalueid(look, 99) end, upvaluejoin = function() debug.upvaluejoin(look, 99, look, 99) end,
        getmetatable = function() debug.getmetatable(1) end, setmetatable = function() debug.setmetatable(1, {}) end, setmeta = function() debug.setmetatable({}, 1) end,
        external = function() setmetatable({}, _home) end, store = function() _home.x = coroutine.create(look) end, load = function() load(function() error('x') end) end,
        require = function() require 'nothing.there' end, host = function() host.call(coroutine.create(look)) end, fails = function() host.call(nil) end,
        rep = function() string.rep() end, concat = function() table.concat({{}}) end, unpack = function() string.unpack('z', 'x') end,
        index = function() return nil + 1 end, deep = function() local function f() return 1 + f() end f() end,
        wrap = function() allow(coroutine.wrap(function() error('x') end), 'wrap')() end, sort = function() table.sort({3, 1, 2, 5, 4}, function() return true end) end} do
        xpcall(f, handler(name))
        xpcall(debug.traceback, handler(name), {}, 'x')
    end
    for _, name in ipairs {'getlocal', 'getupvalue', 'setupvalue', 'upvalueid', 'upvaluejoin', 'getmetatable', 'setmetatable', 'getinfo', 'traceback'} do
        xpcall(debug[name], handler('bare ' .. name), 99, 1)
        xpcall(debug[name], handler('bare ' .. name), coroutine.create(look), 99, 1)
        xpcall(debug[name], handler('bare ' .. name))
    end
    -- metamethods that C asks for
    print(meta('print', {'__tostring'}))
    tostring(meta('tostring', {'__tostring'}))
    local text = string.format('%s', meta('format', {'__tostring'}))
    pcall(error, meta('error', {'__tostring'}))
    pcall(pairs, meta('pairs', {'__pairs'}))
    pcall(table.concat, meta('concat', {'__index', '__len'}))
    pcall(table.unpack, meta('unpack', {'__index'}), 1, 3)
    pcall(table.insert, meta('insert', {'__index', '__len', '__newindex'}), 1)
    pcall(table.move, meta('move', {'__index', '__newindex'}), 1, 3, 2)
    pcall(table.sort, setmetatable({}, {__len = function() look('sort __len') return 3 end, __index = function(_, i) look('sort __index') return i end, __newindex = function() look('sort __newindex') end}))
    table.sort({3, 1, 2}, function(a, b) look('comparator') return a < b end)
    string.gsub('abc', '.', function() look('gsub') end)
    string.gsub('abc', '.', setmetatable({}, {__index = function() look('gsub index') end}))
    local parts = {'return ', '1'}
    load(function() look('reader') return table.remove(parts, 1) end)
    do local x <close> = setmetatable({}, {__close = function() look('__close') end}) end
    pcall(function() local x <close> = setmetatable({}, {__close = function() look('__close after an error') end}) error('x') end)
    -- modules
    package.preload.mine = function() look('loader') return true end
    require 'mine'
    table.insert(package.searchers, 1, function() look('searcher') end)
    require 'bigint'
    local json = require 'json'
    json.encode(json.decode('[{"a": [1, "\\u0041"]}]')) pcall(json.decode, '[') pcall(json.encode, {print}) json.array {}
    table.remove(package.searchers, 1)
    -- coroutines
    local co = coroutine.create(function(...) look('coroutine') coroutine.yield() look('resumed') error('x') end)
    threads[#threads + 1] = co
    coroutine.resume(co) look('beside') coroutine.resume(co) look('beside a dead one')
    local closing = coroutine.create(function() local x <close> = setmetatable({}, {__close = function() look('coroutine.close') end}) coroutine.yield() end)
    coroutine.resume(closing) coroutine.close(closing)
    for _, f in ipairs {pairs, ipairs, next, pcall, table.sort, coroutine.yield, string.gsub} do
        local thread = coroutine.create(f)
        threads[#threads + 1] = thread
        coroutine.resume(thread, {3, 1, 2}, function(a, b) look('in a bare coroutine') coroutine.yield() end)
    end
    -- the host
    host.call(function(...) look('host.call') arm('a host function') return {1, {2}} end, {1, {2, {3}}})
    host.nested("look('nested') arm = setmetatable({}, {__gc = function() look('__gc of a nested run') end}) arm = nil collectgarbage() return {1, {2}}")
    pcall(host.nested, "error(setmetatable({}, {__tostring = function() look('error of a nested run') return 'text' end}))")
    host.nested("local t = {} for i = 1, 3000 do setmetatable({}, {__gc = function() look('__gc while results are made') end}) t[i] = {i} end return t")
    pcall(host.call, function() error('x') end)
    pcall(host.report)
"#;

#[test]
fn no_script_reaches_an_internal_function() {
    let lua = Arc::new(Sandbox::new().unwrap());
    let call = |args: Vec<Value>| match args.split_first() {
        Some((Value::Function(f), rest)) => f.call(rest.to_vec()).map(|outcome| outcome.values),
        _ => Err(Error::host("not a function")),
    };
    lua.register("host.call", call).unwrap();
    lua.register("host.report", |()| Err::<(), _>(Error::host("no"))).unwrap();
    let weak = Arc::downgrade(&lua);
    let nested = move |source: String| weak.upgrade().unwrap().compute(source).map(|outcome| outcome.values);
    lua.register("host.nested", nested).unwrap();

    lua.compute(WATCH).unwrap();
    let names = lua.call("find_known", ()).unwrap().get::<String>().unwrap();
    let mut wanted: Vec<&str> = BUILT_IN.split_whitespace().collect();
    wanted.sort_unstable();
    assert_eq!(names.split(' ').collect::<Vec<_>>(), wanted);
    // What built-ins hand out: iterators and the like.
    lua.compute(
        "allow(ipairs {}, 'ipairs') allow((utf8.codes '')) allow((utf8.codes('', true)))
         local bigint = require 'bigint' for k, f in pairs(bigint) do if type(f) == 'function' then allow(f, k) end end
         for k, f in pairs(require 'json') do if type(f) == 'function' then allow(f, k) end end
         allow((select(2, pcall(package.searchers[2], 'bigint'))))
         return type(getmetatable(bigint.new(1)))",
    )
    .unwrap();

    lua.compute(WAYS).unwrap();
    // The host's own ways in.
    lua.compute("setmetatable(_G, {__index = function(t, k) look('__index of ' .. k) if k == 'far' then return {away = look} end end, __newindex = rawset})")
        .unwrap();
    lua.call("far.away", ["call"]).unwrap();
    lua.register("later.on", |()| Ok(())).unwrap();
    lua.compute("allow(later.on, 'later.on')").unwrap();
    lua.unregister("later.on").unwrap();
    let arm = "for i = 1, 300 do setmetatable({}, {__gc = function() look('__gc of the host') end}) end";
    lua.compute(arm).unwrap();
    lua.gc().unwrap();
    lua.compute(arm).unwrap();
    let many: Table = (1..5000).map(|i| Value::from(Table::from_iter([Value::from(i)]))).collect();
    lua.compute_with("look('arguments') return ...", ComputeOptions::new().args([many])).unwrap();
    lua.compute(arm).unwrap();
    lua.compute("error(setmetatable({}, {__tostring = function() look('report') return 'text' end}))").unwrap_err();
    lua.compute(arm).unwrap();
    lua.compute("_home.t = {} for i = 1, 600 do _home.t[i] = {i} end _home.t = nil error('undone')").unwrap_err();
    lua.compute(arm).unwrap();
    let _ = lua.snapshot().unwrap();
    let _ = lua.fork().unwrap().compute("collectgarbage() look('fork')").unwrap();

    let seen = lua.compute("return looks, table.concat(strangers, '\\n')").unwrap();
    assert_eq!(seen.values[1], Value::from(""));
    assert!(seen.values[0].as_integer().unwrap() > 500, "{:?}", seen.values[0]);
}
