//! Runs that are renewed while others write to their store.

use luacell::{ComputeOptions, ErrorKind, Run, Sandbox};

type Test = fn(&dyn Fn() -> Sandbox);

/// Each wants a store of its own, which is opened as often as it likes.
pub(crate) const TESTS: [Test; 3] =
    [what_could_not_be_stored_is_not_stored_later, what_was_only_read_is_no_conflict, an_older_sandbox_goes_on_with_it];

fn make_tables(lua: &Sandbox, name: &str) {
    lua.compute(format!("for i = 1, 60 do _home['{name}' .. i] = {{'{name}', i}} end")).unwrap();
}

fn check_tables(lua: &Sandbox, name: &str) {
    let check = format!(
        "local wrong = 0 for i = 1, 60 do local t = _home['{name}' .. i]
        if not t or t[1] ~= '{name}' or t[2] ~= i then wrong = wrong + 1 end end return wrong"
    );
    assert_eq!(lua.compute(check).unwrap().values, [0.into()]);
}

fn start(lua: &Sandbox) -> Run {
    lua.start("local x = ask() _home.answer = x return x", ComputeOptions::new().durable("r")).unwrap()
}

/// What the sandbox was used for can't be stored, since somebody else took the same numbers: neither can it later, over
/// what that one stored.
fn what_could_not_be_stored_is_not_stored_later(open: &dyn Fn() -> Sandbox) {
    for again in ["renew", "resume"] {
        let (lua, other) = (open(), open());
        let mut run = start(&lua);
        make_tables(&lua, "a");
        make_tables(&other, "b");
        let error = run.renew().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        if again == "renew" {
            let error = run.renew().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        }
        check_tables(&other, "b");
        run.answer(1, 1).unwrap();
        run.resume().unwrap();
        let error = run.into_result().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.to_string().contains("resumed by its name"), "{error}");
        check_tables(&other, "b");
        assert_eq!(lua.home().get("a1").unwrap(), luacell::Value::Nil);

        let mut run = lua.resume("r").unwrap();
        make_tables(&lua, "a");
        run.renew().unwrap();
        run.answer(1, 2).unwrap();
        run.resume().unwrap();
        assert_eq!(run.into_result().unwrap().values, [2.into()]);
        for name in ["a", "b"] {
            check_tables(&other, name);
        }
        other.compute("for key in pairs(_home) do _home[key] = nil end").unwrap();
    }
}

/// Where nobody did anything for the run there is nothing to be in conflict.
fn what_was_only_read_is_no_conflict(open: &dyn Fn() -> Sandbox) {
    let (lua, other) = (open(), open());
    lua.compute("_home.n = 1").unwrap();
    let mut run = start(&lua);
    for n in 2..5 {
        lua.home().get("n").unwrap();
        lua.snapshot().unwrap();
        other.compute("_home.n = _home.n + 1").unwrap();
        run.renew().unwrap();
        assert_eq!(lua.home().get("n").unwrap(), n.into());
    }
    run.answer(1, 1).unwrap();
    run.resume().unwrap();
    assert_eq!(run.into_result().unwrap().values, [1.into()]);
}

/// A sandbox that is older than the run takes it up, and makes tables.
fn an_older_sandbox_goes_on_with_it(open: &dyn Fn() -> Sandbox) {
    let old = open();
    old.compute("return _home.x").unwrap();
    let new = open();
    make_tables(&new, "a");
    let source = "held = {n = 5} _home.held = held held = _home.held _home.held = nil
        ask() for i = 1, 60 do _home['b' .. i] = {'b', i} end return held.n";
    drop(new.start(source, ComputeOptions::new().durable("r")).unwrap());
    let mut run = old.resume("r").unwrap();
    run.renew().unwrap();
    assert_eq!(old.compute("return held.n").unwrap().values, [5.into()]);
    make_tables(&new, "c");
    run.renew().unwrap();
    run.answer(1, 1).unwrap();
    run.resume().unwrap();
    assert_eq!(run.into_result().unwrap().values, [5.into()]);
    for lua in [&old, &new] {
        for name in ["a", "b", "c"] {
            check_tables(lua, name);
        }
    }
}
