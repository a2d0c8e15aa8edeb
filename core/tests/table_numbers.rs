//! Numbers of kept tables: they do not run out, whatever a script or a store does to them, and no number means two tables.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use luacell::{
    ComputeOptions, ErrorKind, FileStore, FromValue, MemoryStore, Sandbox, SandboxConfig, TableStore, Value,
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

/// The guest keeps metatables of tables that were stored, by number: a new table with the number of an old one does not get its metatable.
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
        (1, "empty", reference(4_294_967_294)),
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
    // While two have the file, Lua may hold any of its tables: it has to be opened anew. A copy in memory is put in order by a reset.
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
