//! Numbers of kept tables: they do not run out, whatever a script or a store does to them, and no number means two
//! tables.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use luacell::{
    ComputeOptions, ErrorKind, FileStore, FromValue, MemoryStore, Sandbox, SandboxConfig, StoreResult, TableStore,
    Value,
};

fn get<T: FromValue>(sandbox: &Sandbox, source: &str) -> T {
    sandbox.compute(source).unwrap().get().unwrap()
}

fn file(path: &Path) -> Sandbox {
    Sandbox::with_config(SandboxConfig::new().store(path)).unwrap()
}

/// The number of a new table.
fn next_number(sandbox: &Sandbox) -> u32 {
    sandbox.compute("_home.probe = {1}").unwrap();
    sandbox.home().get("probe").unwrap().as_stored_table().unwrap().id()
}

fn sandboxes(folder: &Path) -> Vec<Sandbox> {
    let shared = folder.join("shared.luacell");
    vec![
        Sandbox::new().unwrap(),
        Sandbox::with_config(SandboxConfig::new().store(MemoryStore::new())).unwrap(),
        file(&folder.join("alone.luacell")),
        file(&shared),
        file(&shared),
    ]
}

#[test]
fn what_a_run_took_and_did_not_store_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let wasteful = [
        // Fails, in each of the ways.
        ("for i = 1, 60000 do local t = ext.table() end error('x')", false),
        ("for i = 1, 3000 do _home.x = {i} end error('x')", false),
        ("for i = 1, 3000 do _home.f = function() return i end end while true do end", false),
        ("held = {} for i = 1, 3000 do held[i] = ext.table() held[i].x = i end error('x')", false),
        // Succeeds, and nothing of it is left.
        ("for i = 1, 300000 do local t = ext.table() end", true),
        ("t = ext.table() t.x = 1 for i = 1, 300000 do local t = ext.table() end t = nil", true),
    ];
    for (i, sandbox) in sandboxes(folder.path()).iter().enumerate() {
        sandbox.compute("_home.first = {} held = _home.first held.x = 'first'").unwrap();
        for (source, succeeds) in wasteful {
            for _ in 0..4 {
                let options = ComputeOptions::new().instruction_limit(30_000_000);
                assert_eq!(sandbox.compute_with(source, options).is_ok(), succeeds, "{source}");
            }
            let next = next_number(sandbox);
            assert!(next < 2000, "sandbox {i}: {next} after {source}");
            assert!(get::<bool>(sandbox, "return held.x == 'first' or held[1].x == 1"), "{source}");
            sandbox.compute("held = _home.first").unwrap();
        }
    }
}

#[test]
fn no_number_means_two_tables() {
    let folder = tempfile::tempdir().unwrap();
    for sandbox in sandboxes(folder.path()) {
        // What the host has a view of, from a run that failed.
        let seen = Arc::new(Mutex::new(Vec::<Value>::new()));
        let sink = Arc::clone(&seen);
        sandbox
            .register("see", move |table: Value| {
                sink.lock().unwrap().push(table);
                Ok(())
            })
            .unwrap();
        sandbox.compute("_home.a = {'a'} see(_home.a) for i = 1, 100 do _home[i] = {i} end error('x')").unwrap_err();
        sandbox.compute("for i = 1, 300 do _home[i] = {i, 'later'} end").unwrap();
        for view in seen.lock().unwrap().drain(..) {
            assert!(view.as_stored_table().unwrap().is_empty().unwrap(), "an old view shows a new table");
        }
        // What Lua holds, of this run and of those before it, in variables, closures and coroutines.
        sandbox
            .compute(
                "local t = ext.table() t.x = 'kept' function kept() return t.x end
                 co = coroutine.wrap(function() local u = ext.table() u.x = 'in coroutine' coroutine.yield() return u.x end) co()
                 for i = 1, 200000 do local t = ext.table() end
                 last = ext.table() last.x = 'last'
                 for i = 1, 200000 do local t = ext.table() end",
            )
            .unwrap();
        sandbox.compute("for i = 1, 400000 do local t = ext.table() end error('x')").unwrap_err();
        sandbox.compute("for i = 1, 1000 do _home['n' .. i] = {i} end").unwrap();
        assert!(get::<bool>(&sandbox, "return kept() == 'kept' and co() == 'in coroutine' and last.x == 'last'"));
        sandbox.compute("_home.last = last").unwrap();
        sandbox.compute("for i = 1001, 2000 do _home['n' .. i] = {i} end").unwrap();
        let check = "for i = 1, 2000 do assert(_home['n' .. i][1] == i and #_home['n' .. i] == 1) end return _home.last.x == 'last'";
        assert!(get::<bool>(&sandbox, check));
        // A transaction that is taken back.
        let failed = sandbox.transaction(|tx| {
            tx.compute("_home.t1 = {1} mine = _home.t1")?;
            tx.compute("_home.t2 = {2}")?;
            Err::<(), _>(luacell::Error::host("no"))
        });
        assert!(failed.is_err());
        sandbox.compute("for i = 1, 50 do _home['u' .. i] = {i} end").unwrap();
        assert!(get::<bool>(&sandbox, "return mine[1] == 1 and _home.u1[1] == 1 and _home.t1 == nil"));
    }
}

/// What goes through a table holds it, or its number would become another one's.
#[test]
fn a_walk_that_was_begun_leads_to_no_other_table() {
    let folder = tempfile::tempdir().unwrap();
    for sandbox in sandboxes(folder.path()) {
        sandbox
            .compute(
                "walks = {}
                 local t = ext.table() t.old = 1 walks[1] = pairs(t)
                 local u = ext.table() walks[2] = pairs(u)
                 for i = 1, 300000 do local t = ext.table() end collectgarbage()",
            )
            .unwrap();
        sandbox
            .compute(
                "local t = ext.table() t.old = 1 walks[3] = pairs(t) _home.t = t walks[4] = pairs(_home.t) error('x')",
            )
            .unwrap_err();
        sandbox.compute("for i = 1, 20 do _home['n' .. i] = {new = i} end").unwrap();
        let source = "
            for _, walk in ipairs(walks) do
              local ok, key = pcall(walk, nil, nil)
              assert(key ~= 'new' and (not ok or key == nil or key == 'old'), key)
              pcall(walk)
            end
            return true";
        assert!(get::<bool>(&sandbox, source));
    }
}

/// A table that nothing was ever written to is known to Lua alone. It keeps its number, whatever fails afterwards.
#[test]
fn what_lua_alone_knows_keeps_its_number() {
    let fail = |sandbox: &Sandbox| assert!(sandbox.compute("error('x')").is_err());
    type Change<'a> = &'a dyn Fn(&Sandbox);
    let changes: [(&str, Change<'_>); 8] = [
        ("a run fails", &|_| {}),
        ("one that wrote fails", &|s| assert!(s.compute("for i = 1, 50 do _home[i] = {i} end error('x')").is_err())),
        ("one that took many succeeds", &|s| {
            drop(s.compute("for i = 1, 300000 do local t = ext.table() end").unwrap())
        }),
        ("a write of the host fails", &|s| assert!(s.home().set(Value::Nil, 1).is_err())),
        ("a collection", &|s| s.gc().unwrap()),
        ("a transaction", &|s| s.transaction(|tx| tx.compute("in_transaction = ext.table()").map(drop)).unwrap()),
        ("one that fails", &|s| {
            assert!(
                s.transaction(|tx| tx.compute("_home.x = {1}").and(Err::<(), _>(luacell::Error::host("no")))).is_err()
            )
        }),
        ("a snapshot", &|s| {
            let options = luacell::RestoreOptions::new().tables(true);
            if let Ok(()) = s.restore_with(&s.snapshot().unwrap(), &options) {
                assert!(s.compute("error('x')").is_err());
            }
        }),
    ];
    for (name, change) in changes {
        let folder = tempfile::tempdir().unwrap();
        for (i, sandbox) in sandboxes(folder.path()).iter().enumerate() {
            sandbox.compute("first, empty = ext.table(), ext.table() first.x = 'first'").unwrap();
            change(sandbox);
            fail(sandbox);
            sandbox.compute("last = ext.table()").unwrap();
            fail(sandbox);
            sandbox.compute("for i = 1, 300 do _home[i] = {i, 'later'} end local t = ext.table() t.x = 1").unwrap();
            let alone = "return next(empty) == nil and next(last) == nil and empty ~= last and first.x == 'first' \
                 and (in_transaction == nil or next(in_transaction) == nil and in_transaction ~= last)";
            assert!(get::<bool>(sandbox, alone), "sandbox {i}: {name}");
            sandbox.compute("empty.y = 2").unwrap();
            let intact =
                "for i = 1, 300 do assert(_home[i][1] == i and #_home[i] == 2 and _home[i].y == nil) end return true";
            assert!(get::<bool>(sandbox, intact), "sandbox {i}: {name}");
        }
    }
}

/// The guest keeps metatables of tables that were stored, by number: a new table with the number of an old one does not
/// get its metatable.
#[test]
fn metatables_go_with_the_number() {
    let folder = tempfile::tempdir().unwrap();
    for sandbox in sandboxes(folder.path()) {
        sandbox
            .compute(
                "local mt = {__index = function() return 'old' end}
                 for i = 1, 70000 do local t = setmetatable(ext.table(), mt) if i > 69900 then _home.x = t end end
                 _home.x = nil",
            )
            .unwrap();
        sandbox.compute("for i = 1, 300 do _home[i] = {i} end").unwrap();
        sandbox.compute("collectgarbage() for i = 1, 70000 do local t = ext.table() _home.x = t assert(not getmetatable(t)) end").unwrap();
        assert!(get::<bool>(&sandbox, "for i = 1, 300 do assert(not getmetatable(_home[i])) end return true"));
    }
}

fn integer(n: i64) -> Vec<u8> {
    [&[2][..], &n.to_le_bytes()].concat()
}

fn reference(table: u32) -> Vec<u8> {
    [&[7][..], &table.to_le_bytes()].concat()
}

/// Somebody, or an earlier version, left a store with numbers that are almost used up.
fn spoil(store: &mut dyn TableStore) {
    for (table, key, value) in [
        (1, "a", reference(4_294_967_290)),
        (1, "b", reference(5)),
        (1, "empty", reference(4_294_967_293)),
        (5, "1", integer(5)),
        (5, "a", reference(4_294_967_290)),
        (4_294_967_290, "1", integer(90)),
        (4_294_967_290, "self", reference(4_294_967_290)),
        // Nobody refers to these.
        (3, "1", integer(3)),
        (4_294_967_000, "1", integer(4)),
        (u32::MAX, "next", integer(4_294_967_295)),
    ] {
        store.set(table, key, &value).unwrap();
    }
}

const INTACT: &str = "
    local a, b = _home.a, _home.b
    return a[1] == 90 and a.self == a and b[1] == 5 and b.a == a and next(_home.empty) == nil";

#[test]
fn numbers_near_the_end_exhaust_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.luacell");
    spoil(&mut FileStore::open(&path).unwrap());
    let mut memory = MemoryStore::new();
    spoil(&mut memory);
    for sandbox in [file(&path), Sandbox::with_config(SandboxConfig::new().store(memory)).unwrap()] {
        assert!(get::<bool>(&sandbox, INTACT));
        for _ in 0..3 {
            sandbox.compute("for i = 1, 1000 do _home[i] = {i} end _home.empty.x = 'filled'").unwrap();
            assert!(get::<bool>(
                &sandbox,
                "for i = 1, 1000 do assert(_home[i][1] == i and #_home[i] == 1) end return true"
            ));
            sandbox.compute("_home.empty.x = nil").unwrap();
        }
        assert!(next_number(&sandbox) < 10_000);
        assert!(get::<bool>(&sandbox, INTACT));
        // An export has numbers of its own.
        let copy = Sandbox::new().unwrap();
        copy.import_home(&sandbox.export_home().unwrap()).unwrap();
        assert!(get::<bool>(&copy, INTACT));
    }
    let sandbox = file(&path);
    assert!(get::<bool>(&sandbox, INTACT) && next_number(&sandbox) < 10_000);
    drop(sandbox);
    // While two have the file, Lua may hold any of its tables: it has to be opened anew. A copy in memory is put in
    // order by a reset.
    std::fs::remove_file(&path).unwrap();
    spoil(&mut FileStore::open(&path).unwrap());
    let other = FileStore::open(&path).unwrap();
    let sandbox = file(&path);
    assert!(get::<bool>(&sandbox, INTACT));
    let fork = sandbox.fork().unwrap();
    assert!(sandbox.compute("for i = 1, 1000 do _home[i] = {i} end").is_err());
    assert!(fork.compute("for i = 1, 1000 do _home[i] = {i} end").is_err());
    assert!(get::<bool>(&sandbox, INTACT) && get::<bool>(&fork, INTACT));
    fork.reset().unwrap();
    fork.compute("for i = 1, 1000 do _home[i] = {i} end").unwrap();
    assert!(get::<bool>(&fork, INTACT));
    drop((sandbox, other));
    file(&path).compute("for i = 1, 1000 do _home[i] = {i} end").unwrap();
    assert!(get::<bool>(&file(&path), INTACT));
}

/// A store of five functions, which several sandboxes have although it is for one.
#[derive(Clone, Default)]
struct Passed(Arc<Mutex<MemoryStore>>);

impl TableStore for Passed {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        self.0.lock().unwrap().get(table, key, read)
    }
    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.0.lock().unwrap().set(table, key, value)
    }
    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.0.lock().unwrap().delete(table, key)
    }
    fn size(&mut self, table: u32) -> StoreResult<u64> {
        self.0.lock().unwrap().size(table)
    }
    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        self.0.lock().unwrap().keys(table, visit)
    }
}

/// Both would give the same numbers to their tables.
#[test]
fn a_store_for_one_has_no_second_writer() {
    let store = Passed::default();
    let open = || Sandbox::with_config(SandboxConfig::new().store(store.clone())).unwrap();
    let (a, b) = (open(), open());
    assert!(get::<bool>(&b, "return _home.a == nil"));
    a.compute("_home.a = {owner = 'a'}").unwrap();
    for _ in 0..3 {
        for source in ["_home.b = {owner = 'b'}", "return _home.a.owner", "for k in pairs(_home) do end"] {
            let error = b.compute(source).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Store);
            assert!(error.message().contains("another sandbox has written"), "{error}");
        }
        assert_eq!(b.home().set("b", 1).unwrap_err().kind(), ErrorKind::Store);
        // Who only looks disturbs nobody.
        assert_eq!(get::<String>(&open(), "return _home.a.owner"), "a");
        a.compute("_home.more = {_home.a}").unwrap();
    }
    let c = open();
    c.compute("_home.c = {owner = 'c'}").unwrap();
    assert_eq!(a.compute("_home.a.owner = 'x'").unwrap_err().kind(), ErrorKind::Store);
    assert!(get::<bool>(
        &open(),
        "return _home.a.owner == 'a' and _home.more[1] == _home.a and _home.c.owner == 'c' and _home.b == nil"
    ));
}

/// In a store that others use a run can't take more numbers than it may, for they would be gone.
#[test]
fn one_run_takes_so_many_numbers_of_a_shared_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.luacell");
    let (a, b) = (file(&path), file(&path));
    let patient = || ComputeOptions::new().timeout(Duration::from_secs(600));
    let error = a.compute_with("for i = 1, 17e6 do t = ext.table() end _home.t = t", patient()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.message().contains("16777216"), "{error}");
    assert!(next_number(&a) < 2000 && next_number(&b) < 2000);
}

const MARKED: &str = "
    held = held or {}
    function new(tag, n) local t = ext.table() for i = 1, n do t[i] = tag .. ':' .. i end return t end
    function hold(tag, t) held[#held + 1] = {t = t, tag = tag} end
    local function look(t, tag, seen)
      for _, v in pairs(t) do
        if type(v) == 'string' then
          local mine = v:match('^(.-):')
          tag = tag or mine
          assert(tag == mine, tag .. ' has ' .. v)
        elseif not seen[v] then
          seen[v] = true
          look(v, nil, seen)
        end
      end
    end
    function check()
      for _, h in ipairs(held) do look(h.t, h.tag, {}) end
      for k, t in pairs(_home) do look(t, k:match('^(.-)_'), {[t] = true}) end
      return true
    end";

/// Whatever runs do, hold and fail at: each entry says whose it is, and no table has one of another.
#[test]
fn no_table_has_entries_of_another() {
    for seed in 1..=24u64 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.luacell");
        let kept = seed % 3 != 0;
        let open = || {
            let sandbox = if kept { file(&path) } else { Sandbox::new().unwrap() };
            sandbox.compute(MARKED).unwrap();
            sandbox
        };
        let (mut all, mut views, mut snapshot) = (vec![open()], Vec::new(), None);
        let mut state = seed;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut steps = String::new();
        for step in 0..60 {
            let at = random(all.len());
            let sandbox = &all[at];
            let tag = format!("s{seed}n{step}");
            let end = if random(3) == 0 { " error('x')" } else { "" };
            let n = random(3);
            let what = random(15);
            steps += &format!("{at}:{what}{} ", if end.is_empty() { "" } else { "!" });
            let run = |source: String| drop(sandbox.compute(source + end));
            let any =
                "local ks = {} for k in pairs(_home) do ks[#ks + 1] = k end table.sort(ks) local k = ks[#ks // 2 + 1] ";
            match what {
                0 | 1 => run(format!("hold('{tag}', new('{tag}', {n}))")),
                2 | 3 => run(format!("_home['{tag}_'] = new('{tag}', {n})")),
                4 => run(format!(
                    "local t = new('{tag}', 1) t.x = {{'{tag}b:1', {{'{tag}c:1'}}}} _home['{tag}_'] = t hold('{tag}', t)"
                )),
                5 => run(format!("{any} if k then _home[k] = nil end")),
                6 => run("local h = held[#held // 2 + 1] if h then _home[h.tag .. '_'] = h.t end".to_owned()),
                7 => run(format!("for i = 1, {} do local t = ext.table() end", [10, 500, 70_000][n])),
                8 => run("for i = 1, #held // 2 do table.remove(held) end".to_owned()),
                9 => {
                    let mut table = luacell::Table::new();
                    table.set(1, format!("{tag}:1")).unwrap();
                    sandbox.home().set(format!("{tag}_"), table).unwrap();
                }
                10 => {
                    if let Some(key) = get::<Option<String>>(sandbox, &format!("{any} return k")) {
                        let view = sandbox.home().get(key.as_str()).unwrap().as_stored_table().unwrap().clone();
                        views.push((key.split('_').next().unwrap().to_owned(), view));
                    }
                }
                11 => sandbox.gc().unwrap(),
                12 => match &snapshot {
                    None => snapshot = Some(sandbox.snapshot().unwrap()),
                    Some(taken) => drop(sandbox.restore(taken)),
                },
                13 => {
                    sandbox.reset().unwrap();
                    sandbox.compute(MARKED).unwrap();
                }
                _ if all.len() > 1 => drop(all.remove(at)),
                _ if kept => all.push(open()),
                _ => all.push(sandbox.fork().unwrap()),
            }
            for sandbox in &all {
                let checked = sandbox.compute("return check()");
                assert!(checked.is_ok(), "seed {seed}: {steps}: {}", checked.unwrap_err());
            }
            for (tag, view) in &views {
                let Ok(table) = view.to_table() else { continue };
                for (_, value) in table.pairs() {
                    let mine = value.as_str().is_none_or(|text| text.starts_with(&format!("{tag}:")));
                    assert!(mine, "seed {seed}: {steps}: a view of {tag} has {value:?}");
                }
            }
        }
    }
}

/// A sandbox that others overtook: what it reads of theirs has numbers that it would give next.
#[test]
fn new_tables_are_new_beside_those_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.luacell");
    let (a, b) = (file(&path), file(&path));
    a.compute("_home.users = {}").unwrap();
    let seen = Arc::new(Mutex::new(Vec::<Value>::new()));
    let sink = Arc::clone(&seen);
    b.register("see", move |value: Value| {
        sink.lock().unwrap().push(value);
        Ok(())
    })
    .unwrap();
    for round in 0..5 {
        for i in 0..20 {
            a.compute(format!("_home.users['a{round}_{i}'] = {{name = 'a{round}_{i}', friends = {{'x'}}}}")).unwrap();
        }
        let source = "
            local users, name = _home.users, ...
            for k, v in pairs(users) do assert(v.name == k and #v.friends <= 1) end
            users[name] = {name = name, friends = {}}
            local new, empty = users[name], ext.table()
            see(new.name) see(new.friends[1]) see(next(empty))
            for k, v in pairs(users) do assert(v.name == k, k .. ' has ' .. v.name) end
            held = {new, empty}";
        let name = format!("b{round}");
        b.compute_with(source, ComputeOptions::new().args(name.as_str())).unwrap();
        assert_eq!(*seen.lock().unwrap(), [name.as_str().into(), Value::Nil, Value::Nil]);
        seen.lock().unwrap().clear();
    }
    assert_eq!(
        get::<i64>(&b, "local n = 0 for k, v in pairs(_home.users) do assert(v.name == k) n = n + 1 end return n"),
        105
    );
}

/// A store that can't list its tables, so that they get no lower numbers, and somebody has put one of the highest into
/// it.
#[test]
fn at_the_end_of_the_range_there_is_an_error_and_no_other_table() {
    for left in [0, 1, 2, 5, 63, 64, 65, 70] {
        let last = u32::MAX - 2 - left;
        let store = Passed::default();
        let reference: Vec<u8> = [7].into_iter().chain(last.to_le_bytes()).collect();
        store.0.lock().unwrap().set(1, "last", &reference).unwrap();
        store.0.lock().unwrap().set(last, "x", &[1, 1]).unwrap();
        let mut made = 0;
        for _ in 0..left + 3 {
            // Opened anew, it goes on behind all that there are.
            let lua = Sandbox::with_config(SandboxConfig::new().store(store.clone())).unwrap();
            assert!(get::<bool>(&lua, "return _home.last.x and next(_home.last, 'x') == nil"));
            match lua.compute("local t = ext.table() assert(t ~= _home and t ~= _io and next(t) == nil) t.y = 1 _home[#_home + 1] = t") {
                Ok(_) => made += 1,
                Err(error) => {
                    assert!(error.message().contains("no external table ids are left"), "{error}");
                    let many = "for i = 1, 5 do local ok, t = pcall(ext.table) assert(not ok or t ~= _home and t ~= _io) end";
                    lua.compute(many).unwrap();
                }
            }
        }
        assert!(made <= left, "{made} of {left}");
    }
}

/// Another sandbox stores tables under the numbers that a run has taken, or takes next: the run's new tables have
/// nothing of theirs, and taking it back gives them nothing either.
#[test]
fn a_run_that_fails_gets_nothing_of_tables_with_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    for (number, body) in [
        "new = {} others_store() _home.new = new",
        "new = {} _home.new = new others_store()",
        "new = {} others_store() _home.new = new local theirs = _home.theirs",
        "new = {} others_store() _home.new = new for k in pairs(_home) do end",
        "new = {} others_store() _home.new = new seen = next(_home.new) or #_home.new > 0 or _home.new.secret",
        "new = {} others_store() _home.new = new for k in pairs(_home.new) do seen = k end",
        "new = ext.table() others_store() seen = next(new)",
    ]
    .iter()
    .enumerate()
    {
        for end in ["error('x')", "while true do end", "_home.x = _home.x + 1"] {
            let path = folder.path().join(format!("{number} {}.luacell", end.len()));
            let (one, other) = (file(&path), Arc::new(file(&path)));
            other.compute("_home.x = 1").unwrap();
            assert_eq!(get::<i64>(&one, "return _home.x"), 1);
            let theirs = Arc::clone(&other);
            one.register("others_store", move |()| {
                theirs.compute("_home.theirs = {secret = 'theirs'} _home.more = {secret = 'more'}").map(drop)
            })
            .unwrap();
            let options = ComputeOptions::new().instruction_limit(1_000_000);
            one.compute_with(format!("{body} {end}"), options).unwrap_err();
            let check = "return not seen and next(new) == nil and _home.theirs.secret == 'theirs' and _home.new == nil";
            assert!(get::<bool>(&one, check), "{body} {end}");
        }
    }
}
