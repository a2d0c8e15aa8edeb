//! Runs with a name in a store: they survive the sandbox, and the process.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod faults;
mod killed;
mod renewed;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use luacell::{
    ComputeOptions, Error, ErrorKind, FileStore, Function, Run, Sandbox, SandboxConfig, StoreResult, TableStore, Value,
};

/// Not a test: what child processes do.
#[test]
fn child() {
    let Ok(place) = std::env::var("LUACELL_PLACE") else { return };
    killed::work(&sandbox(FileStore::open(place).unwrap()), "run");
}

fn sandbox(store: impl TableStore + 'static) -> Sandbox {
    let lua = Sandbox::with_config(SandboxConfig::new().store(store)).unwrap();
    lua.declare("ask").unwrap();
    lua
}

fn start(lua: &Sandbox, name: &str, source: &str) -> Run {
    lua.start(source, ComputeOptions::new().durable(name)).unwrap()
}

fn names(lua: &Sandbox) -> Vec<String> {
    lua.pending_runs().unwrap().into_iter().map(|run| run.name).collect()
}

/// The open requests, as `id:argument`.
fn open(run: &Run) -> Vec<String> {
    run.requests().unwrap().iter().map(|r| format!("{}:{}", r.id, r.args[0].as_str().unwrap())).collect()
}

/// Answers the only request, and lets the run go on.
fn go_on(run: &mut Run, answer: impl Into<Value>) {
    let requests = run.requests().unwrap();
    assert_eq!(requests.len(), 1);
    run.answer(requests[0].id, answer.into()).unwrap();
    run.resume().unwrap();
}

fn eval(lua: &Sandbox, source: &str) -> Value {
    lua.compute(source).unwrap().values[0].clone()
}

type Entries = BTreeMap<(u32, String), Vec<u8>>;

/// The smallest store there can be, for one sandbox at a time.
#[derive(Clone, Default)]
struct Own(Arc<Mutex<Entries>>);

impl TableStore for Own {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        let value = self.0.lock().unwrap().get(&(table, key.to_owned())).cloned();
        Ok(value.map(|value| read(&value)).is_some())
    }
    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.0.lock().unwrap().insert((table, key.to_owned()), value.to_vec());
        Ok(())
    }
    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.0.lock().unwrap().remove(&(table, key.to_owned()));
        Ok(())
    }
    fn size(&mut self, table: u32) -> StoreResult<u64> {
        Ok(self.0.lock().unwrap().keys().filter(|(t, _)| *t == table).count() as u64)
    }
    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        let keys: Vec<String> =
            self.0.lock().unwrap().keys().filter(|(t, _)| *t == table).map(|(_, key)| key.clone()).collect();
        keys.iter().for_each(|key| visit(key));
        Ok(())
    }
}

/// A file in a folder of its own, which ends with it.
struct File(tempfile::TempDir);

impl File {
    fn new() -> Self {
        File(tempfile::tempdir().unwrap())
    }
    fn store(&self) -> FileStore {
        FileStore::open(self.0.path().join("runs.luacell")).unwrap()
    }
    fn sandbox(&self) -> Sandbox {
        sandbox(self.store())
    }
}

#[test]
fn a_run_goes_on_elsewhere_from_where_it_waited_last() {
    let file = File::new();
    let lua = file.sandbox();
    let source = "
        print('begins')
        local made = {n = 1}
        local function count() made.n = made.n + 1 return made.n end
        global = 'stays'
        _home.list = {1}
        local a = ask('first')
        _home.list[2] = a
        local b = ask('second')
        _home.list[3] = b
        print('ends', count(), global)
        return a + b, made.n";
    let mut run = start(&lua, "a run", source);
    assert!(run.is_waiting(), "{:?}", run.into_result());
    assert_eq!(run.name(), Some("a run"));
    assert_eq!(names(&lua), ["a run"]);
    assert_eq!(open(&run), ["1:first"]);
    go_on(&mut run, 20);
    assert_eq!(open(&run), ["2:second"]);
    drop((run, lua));

    let lua = file.sandbox();
    assert_eq!(eval(&lua, "return #_home.list"), 2.into(), "what it wrote before it waited is stored");
    let run = lua.resume("a run").unwrap();
    assert_eq!(open(&run), ["2:second"]);
    drop((run, lua));

    let lua = file.sandbox();
    let mut run = lua.resume("a run").unwrap();
    go_on(&mut run, 22);
    assert!(!run.is_waiting());
    let outcome = run.into_result().unwrap();
    assert_eq!(outcome.values, [42.into(), 2.into()]);
    assert_eq!(outcome.output, "begins\nends\t2\tstays\n");
    assert_eq!(outcome.metrics.host_calls, 2);
    assert_eq!(eval(&lua, "return table.concat(_home.list, ',')"), "1,20,22".into());
    assert!(names(&lua).is_empty());
    assert_eq!(lua.resume("a run").unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn any_store_will_do() {
    let (own, file, memory) = (Own::default(), File::new(), luacell::MemoryStore::new());
    let source = "_home.a = {ask('x')} _home.b = ask('y') return _home.a[1] .. _home.b";
    for lua in [sandbox(own.clone()), file.sandbox(), sandbox(memory)] {
        let mut run = start(&lua, "r", source);
        go_on(&mut run, "1");
        drop(run);
        let mut run = lua.resume("r").unwrap();
        go_on(&mut run, "2");
        assert_eq!(run.into_result().unwrap().values, ["12".into()]);
        assert!(names(&lua).is_empty());
    }
    // In another sandbox, too.
    let mut run = start(&sandbox(own.clone()), "r", source);
    go_on(&mut run, "3");
    drop(run);
    let lua = sandbox(own);
    let mut run = lua.resume("r").unwrap();
    go_on(&mut run, "4");
    assert_eq!(run.into_result().unwrap().values, ["34".into()]);
}

#[test]
fn what_a_run_holds_stays_in_the_store_until_it_has_ended() {
    let file = File::new();
    let lua = file.sandbox();
    let source = "
        _home.a = {name = 'a'}
        local kept, made = _home.a, {}
        _home.b = made
        made.deep = {deeper = {1, 2, 3}}
        _home.a, _home.b = nil, nil
        local before = ask('x')
        return kept.name, made.deep.deeper[3], before";
    let mut run = start(&lua, "holds", source);
    drop((run, lua));
    for _ in 0..2 {
        let lua = file.sandbox();
        // Others make enough tables for a look at what nobody needs.
        lua.compute("for i = 1, 3000 do _home.t = {i} end").unwrap();
        lua.gc().unwrap();
        run = lua.resume("holds").unwrap();
        drop(run);
        lua.compute("for i = 1, 3000 do _home.t = {i} end").unwrap();
        lua.gc().unwrap();
    }
    let lua = file.sandbox();
    run = lua.resume("holds").unwrap();
    go_on(&mut run, true);
    assert_eq!(run.into_result().unwrap().values, ["a".into(), 3.into(), true.into()]);
    let tables = |lua: &Sandbox| lua.table_count().unwrap().unwrap();
    lua.reset().unwrap();
    lua.gc().unwrap();
    assert!(tables(&lua) <= 3, "{} tables are left", tables(&lua));
}

#[test]
fn io_and_functions_go_along() {
    let file = File::new();
    let lua = file.sandbox();
    let source = "
        local n = 0
        _home.count = function() n = n + 1 return n end
        _home.count()
        _io.seen = {text = 'here'}
        ask('x')
        return _home.count(), _io.seen.text";
    drop((start(&lua, "r", source), lua));
    let lua = file.sandbox();
    let mut run = lua.resume("r").unwrap();
    go_on(&mut run, true);
    assert_eq!(run.into_result().unwrap().values, [2.into(), "here".into()]);
    drop(lua);
    assert_eq!(eval(&file.sandbox(), "return _home.count()"), 3.into());
}

#[test]
fn a_script_that_fails_ends_its_run() {
    let file = File::new();
    let lua = file.sandbox();
    for (source, kind) in [
        ("_home.n = 1 ask('x') _home.n = 2 error('no')", ErrorKind::Runtime),
        ("_home.n = 1 ask('x') _home.n = 2 while true do end", ErrorKind::InstructionLimit),
    ] {
        let options = ComputeOptions::new().durable("fails").instruction_limit(100_000u64);
        let mut run = lua.start(source, options).unwrap();
        go_on(&mut run, true);
        assert_eq!(run.into_result().unwrap_err().kind(), kind);
        assert_eq!(eval(&lua, "return _home.n"), 1.into(), "what was stored with a wait stays, the rest is taken back");
        assert!(names(&lua).is_empty());
    }
    // So does an answer that nothing catches.
    let run = start(&lua, "fails", "ask('x')");
    run.fail(1, Error::host("gone")).unwrap();
    let mut run = run;
    run.resume().unwrap();
    assert_eq!(run.into_result().unwrap_err().kind(), ErrorKind::HostFunction);
    assert!(names(&lua).is_empty());
    // One that never waited was never stored.
    assert_eq!(start(&lua, "short", "return 1").into_result().unwrap().values, [1.into()]);
    assert!(names(&lua).is_empty());
}

#[test]
fn who_interrupts_a_run_or_closes_the_sandbox_does_not_end_it() {
    let file = File::new();
    let lua = file.sandbox();
    let mut run = start(&lua, "r", "local a = ask('x') if a == 'loop' then while true do end end return a");
    let interrupter = lua.interrupter();
    run.answer(1, "loop").unwrap();
    let thread = std::thread::spawn(move || while !interrupter_done(&interrupter) {});
    run.resume().unwrap();
    assert_eq!(run.into_result().unwrap_err().kind(), ErrorKind::Interrupted);
    STOP.store(true, std::sync::atomic::Ordering::SeqCst);
    thread.join().unwrap();
    assert_eq!(names(&lua), ["r"]);
    let run = lua.resume("r").unwrap();
    lua.close();
    drop(run);
    let lua = file.sandbox();
    assert_eq!(lua.pending_runs().unwrap()[0].claimed, None);
    let mut run = lua.resume("r").unwrap();
    go_on(&mut run, "fine");
    assert_eq!(run.into_result().unwrap().values, ["fine".into()]);
}

static STOP: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

fn interrupter_done(interrupter: &luacell::Interrupter) -> bool {
    interrupter.interrupt();
    std::thread::yield_now();
    STOP.load(std::sync::atomic::Ordering::SeqCst)
}

#[test]
fn runs_are_cancelled_and_dropped() {
    let file = File::new();
    let lua = file.sandbox();
    let run = start(&lua, "r", "_home.n = 1 ask('x') _home.n = 2");
    run.cancel();
    assert!(names(&lua).is_empty());
    assert_eq!(eval(&lua, "return _home.n"), 1.into());
    drop(start(&lua, "r", "ask('x')"));
    assert_eq!(names(&lua), ["r"]);
    assert!(lua.drop_pending_run("r").unwrap());
    assert!(!lua.drop_pending_run("r").unwrap());
    assert!(names(&lua).is_empty());
}

#[test]
fn a_conflict_repeats_from_the_last_wait_without_asking_again() {
    let file = File::new();
    let (lua, other) = (file.sandbox(), file.sandbox());
    lua.compute("_home.n = 100").unwrap();
    let mut run = start(
        &lua,
        "r",
        "local a = ask('x') _home.n = _home.n + a local b = ask('y') _home.n = _home.n + b return _home.n",
    );
    // Between the wait and what comes then nothing was read: no conflict.
    other.compute("_home.n = 200").unwrap();
    go_on(&mut run, 1);
    assert_eq!(open(&run), ["2:y"]);
    other.compute("_home.n = 300").unwrap();
    // The sandbox reads for the run that waits, and then somebody writes.
    assert_eq!(lua.home().get("n").unwrap(), 300.into());
    other.compute("_home.n = 400").unwrap();
    go_on(&mut run, 2);
    assert!(!run.is_waiting(), "{run:?}");
    assert_eq!(run.into_result().unwrap().values, [402.into()]);
    assert_eq!(eval(&other, "return _home.n"), 402.into());
    let mut run = start(&lua, "r", "for i = 1, 5 do local a = ask('x') _home.n = _home.n + a end");
    while run.is_waiting() {
        lua.home().get("n").unwrap();
        other.compute("_home.n = _home.n + 1000").unwrap();
        go_on(&mut run, 1);
    }
    run.into_result().unwrap();
    assert_eq!(eval(&other, "return _home.n"), 5407.into());
    lua.compute("_home.n = 402").unwrap();

    // A host function that must not be called twice forbids that, and the run stays where it was.
    lua.register("now", |()| Ok(1)).unwrap();
    let mut run = start(&lua, "r", "ask('x') _home.n = _home.n + now() return _home.n");
    assert_eq!(lua.home().get("n").unwrap(), 402.into());
    other.compute("_home.n = 500").unwrap();
    run.answer(1, true).unwrap();
    run.resume().unwrap();
    assert_eq!(run.into_result().unwrap_err().kind(), ErrorKind::Conflict);
    let mut run = lua.resume("r").unwrap();
    go_on(&mut run, true);
    assert_eq!(run.into_result().unwrap().values, [501.into()]);
}

#[test]
fn one_at_a_time_goes_on_with_a_run() {
    let file = File::new();
    let (lua, other) = (file.sandbox(), file.sandbox());
    let mut run = start(&lua, "r", "ask('x') ask('y') return 1");
    let claimed = other.pending_runs().unwrap()[0].claimed.unwrap();
    assert!(claimed > Duration::from_secs(20) && claimed <= Duration::from_secs(30), "{claimed:?}");
    for error in [other.resume("r").unwrap_err(), other.drop_pending_run("r").unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    }
    let again = other.start("ask('z')", ComputeOptions::new().durable("r")).unwrap().into_result().unwrap_err();
    assert_eq!(again.kind(), ErrorKind::InvalidArgument, "{again}");
    go_on(&mut run, true);
    drop(run);
    let mut run = other.resume("r").unwrap();
    assert_eq!(lua.resume("r").unwrap_err().kind(), ErrorKind::Busy);
    go_on(&mut run, true);
    assert_eq!(run.into_result().unwrap().values, [1.into()]);
}

#[test]
fn a_claim_that_ended_lets_somebody_else_take_over() {
    let file = File::new();
    let config = SandboxConfig::new().store(file.store()).claim_term(Duration::from_millis(1));
    let slow = Sandbox::with_config(config).unwrap();
    slow.declare("ask").unwrap();
    let other = file.sandbox();
    let mut run = start(&slow, "r", "_home.who = ask('x') return _home.who");
    while other.pending_runs().unwrap()[0].claimed.is_some() {}
    let mut taken = other.resume("r").unwrap();
    assert_eq!(run.renew().unwrap_err().kind(), ErrorKind::Conflict);
    go_on(&mut run, "slow");
    let error = run.into_result().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains("somebody else has taken over the run 'r'"), "{error}");
    assert_eq!(names(&other), ["r"], "who lost it does not remove it");
    go_on(&mut taken, "other");
    assert_eq!(taken.into_result().unwrap().values, ["other".into()]);
    assert_eq!(eval(&slow, "return _home.who"), "other".into());
    // Who is still there when nobody came goes on.
    let mut run = start(&slow, "r", "return ask('x')");
    while other.pending_runs().unwrap()[0].claimed.is_some() {}
    run.renew().unwrap();
    go_on(&mut run, "slow");
    assert_eq!(run.into_result().unwrap().values, ["slow".into()]);
}

#[test]
fn a_file_that_was_closed_has_no_claims() {
    let file = File::new();
    let lua = file.sandbox();
    let run = start(&lua, "r", "return ask('x')");
    std::mem::forget(run);
    // As after the end of a process: nobody gives the claim back.
    let path = file.0.path().join("copy.luacell");
    std::fs::copy(file.0.path().join("runs.luacell"), &path).unwrap();
    let copy = sandbox(FileStore::open(&path).unwrap());
    assert_eq!(copy.pending_runs().unwrap()[0].claimed, None);
    let mut run = copy.resume("r").unwrap();
    go_on(&mut run, 5);
    assert_eq!(run.into_result().unwrap().values, [5.into()]);
}

#[test]
fn tasks_and_their_requests_go_along() {
    let file = File::new();
    let source = "
        local task = require 'task'
        local list = {}
        for i = 1, 20 do list[i] = i end
        local out = task.each(list, function(i) return ask(i) end, {limit = 4})
        return #out, out[1], out[20]";
    let mut lua = file.sandbox();
    let mut run = start(&lua, "r", source);
    let mut seen = Vec::new();
    while run.is_waiting() {
        let requests = run.requests().unwrap();
        assert!(requests.len() <= 4);
        // The last one first, and each in another sandbox.
        let request = requests.last().unwrap();
        let n = request.args[0].as_integer().unwrap();
        assert!(!seen.contains(&n));
        seen.push(n);
        run.answer(request.id, n * n).unwrap();
        run.resume().unwrap();
        if run.is_waiting() {
            drop((run, lua));
            lua = file.sandbox();
            run = lua.resume("r").unwrap();
        }
    }
    assert_eq!(run.into_result().unwrap().values, [20.into(), 1.into(), 400.into()]);
}

#[test]
fn what_is_wrong_is_said() {
    let file = File::new();
    let lua = file.sandbox();
    let start_as = |lua: &Sandbox, name: &str| lua.start("ask('x')", ComputeOptions::new().durable(name));
    let error = start_as(&Sandbox::new().unwrap(), "r").unwrap().into_result().unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.to_string().contains("store"), "{error}");
    // A wrong name is none of the script's doing: the run does not begin.
    for name in ["", &"x".repeat(1001)] {
        let error = start_as(&lua, name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains("1 to 1000 bytes"), "{error}");
    }
    let error = lua.compute_with("return 1", ComputeOptions::new().durable("r")).unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.to_string().contains("start"), "{error}");
    drop(start(&lua, "r", "ask('x')"));
    let careful = Sandbox::with_config(SandboxConfig::new().store(file.store()).stored_functions(false)).unwrap();
    let error = careful.resume("r").unwrap_err();
    assert!(error.to_string().contains("stored_functions"), "{error}");
    assert_eq!(names(&careful), ["r"]);
    // Names are any text.
    for name in ["a\nb", "ü", "'quoted'", "claim:r"] {
        drop(start(&lua, name, "ask('x')"));
        drop(lua.resume(name).unwrap());
    }
    assert_eq!(names(&lua), ["'quoted'", "a\nb", "claim:r", "r", "ü"]);
}

#[test]
fn a_host_function_that_is_missing_is_an_error_of_its_call_alone() {
    let file = File::new();
    let lua = file.sandbox();
    lua.register("twice", |n: i64| Ok(2 * n)).unwrap();
    drop((start(&lua, "r", "local n = ask('x') return pcall(twice, n)"), lua));
    let lua = Sandbox::with_config(SandboxConfig::new().store(file.store())).unwrap();
    let mut run = lua.resume("r").unwrap();
    assert_eq!(&*run.requests().unwrap()[0].name, "ask");
    go_on(&mut run, 4);
    assert_eq!(run.into_result().unwrap().values[0], false.into());
}

/// Lua's functions belong to the Lua that went back; others would be called in their place.
#[test]
fn after_a_conflict_a_function_that_was_an_answer_is_gone() {
    let file = File::new();
    let (lua, other) = (file.sandbox(), file.sandbox());
    lua.register_repeatable("disturb", move |()| other.compute("_home.n = _home.n or 10").map(drop)).unwrap();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&kept);
    lua.register_repeatable("keep", move |f: Function| {
        list.lock().unwrap().push(f);
        Ok(())
    })
    .unwrap();
    let source = "local task = require 'task'
        for i = 1, 3 do keep(function() return 'kept' end) end
        local function a() return 'a' end local function b() return 'b' end
        local ok, f, g, text = pcall(task.all, function() return ask(a) end, function() return ask(b) end)
        local again, why = pcall(ask, 'text')
        local n = _home.n or 0 disturb() _home.n = n + 1
        return ok and f() .. g(), again, why";
    let mut run = start(&lua, "r", source);
    for request in run.requests().unwrap() {
        run.answer(request.id, request.args).unwrap();
    }
    run.resume().unwrap();
    run.fail(run.requests().unwrap()[0].id, Error::host("no luck")).unwrap();
    run.resume().unwrap();
    let values = run.into_result().unwrap().values;
    assert_eq!(values[..2], ["ab".into(), false.into()]);
    assert_eq!(eval(&lua, "return _home.n"), 11.into());
    // The answers of the step that is repeated.
    let other = file.sandbox();
    lua.register_repeatable("disturb", move |()| other.compute("_home.m = _home.m or 10").map(drop)).unwrap();
    let source = "local task = require 'task'
        for i = 1, 3 do keep(function() return 'kept' end) end
        local function a() return 'a' end local function b() return 'b' end
        local t, u = task.spawn(pcall, ask, a), task.spawn(pcall, ask, b)
        local ok, f = t:wait() local also, g = u:wait()
        local m = _home.m or 0 disturb() _home.m = m + 1
        return ok and f(), also and g(), tostring(f), tostring(g)";
    let mut run = start(&lua, "s", source);
    for request in run.requests().unwrap() {
        run.answer(request.id, request.args).unwrap();
    }
    run.resume().unwrap();
    let values = run.into_result().unwrap().values;
    assert_eq!(values[..2], [false.into(), false.into()], "{values:?}");
    assert!(values[2..].iter().all(|text| text.as_str().unwrap().contains("the function is gone")), "{values:?}");
    assert_eq!(eval(&lua, "return _home.m"), 11.into());
}

/// Something else than a run that waits, where one should be.
#[test]
fn what_is_no_run_is_not_resumed() {
    let own = Own::default();
    let lua = sandbox(own.clone());
    drop(start(&lua, "r", "_home.n = 1 ask('x')"));
    let place = own.0.lock().unwrap().keys().find(|(_, key)| key == "r").unwrap().clone();
    let other = Sandbox::new().unwrap();
    other.declare("ask").unwrap();
    let nothing = other.snapshot().unwrap().to_bytes().unwrap();
    // One that waits, but whose writes are nowhere else: what is in a store stays within its limit.
    let run = other.start("_home.n = 5 _home.m = {} ask('x')", ComputeOptions::new()).unwrap();
    let with_writes = other.snapshot().unwrap().to_bytes().unwrap();
    drop(run);
    let row = own.0.lock().unwrap()[&place].clone();
    for (snapshot, n) in [(nothing, 2), (with_writes, 3)] {
        // A table with one element, which is text.
        let mut forged = [&[row[0]][..], &1u32.to_le_bytes(), &0u32.to_le_bytes(), &[row[9]]].concat();
        forged.extend((snapshot.len() as u32).to_le_bytes());
        forged.extend(snapshot);
        own.0.lock().unwrap().insert(place.clone(), forged);
        assert_eq!(lua.resume("r").unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(eval(&lua, "_home.n = _home.n + 1 return _home.n"), n.into());
    }
    assert_eq!(names(&lua), ["r"], "only who drops it removes it");
    own.0.lock().unwrap().insert(place, row);
    let mut run = lua.resume("r").unwrap();
    go_on(&mut run, 1);
    run.into_result().unwrap();
}

#[test]
fn damaged_runs_are_errors() {
    let own = Own::default();
    let lua = sandbox(own.clone());
    drop(start(&lua, "r", "_home.a = {} local t = _home.a ask('x') return t"));
    let place = own.0.lock().unwrap().keys().find(|(_, key)| key == "r").unwrap().clone();
    let whole = own.0.lock().unwrap()[&place].clone();
    for at in (0..whole.len()).step_by(whole.len() / 300 + 1) {
        let mut broken = whole.clone();
        broken[at] ^= 0x55;
        own.0.lock().unwrap().insert(place.clone(), broken);
        if let Ok(run) = lua.resume("r") {
            drop(run);
        }
        own.0.lock().unwrap().insert(place.clone(), whole[..at].to_vec());
        let error = lua.resume("r").unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Store | ErrorKind::InvalidArgument), "{error}");
    }
    own.0.lock().unwrap().insert(place, whole);
    let mut run = lua.resume("r").unwrap();
    go_on(&mut run, 1);
    assert!(run.into_result().is_ok());
}

#[test]
fn a_store_that_is_made_a_snapshots_has_no_runs_left() {
    let file = File::new();
    let lua = file.sandbox();
    let empty = lua.snapshot().unwrap();
    drop(start(&lua, "r", "_home.t = {} ask('x')"));
    lua.restore_with(&empty, &luacell::RestoreOptions::new().tables(true)).unwrap();
    assert!(names(&lua).is_empty());
}

#[test]
fn renewed_while_others_write() {
    for test in renewed::TESTS {
        let file = File::new();
        test(&|| file.sandbox());
    }
}

#[test]
fn killed_five_hundred_times() {
    let file = File::new();
    let place = file.0.path().join("runs.luacell");
    killed::kill_often(500, || killed::process("child", place.to_str().unwrap()));
    killed::check(&file.sandbox());
}

#[test]
fn looking_at_it_claims_and_stores_nothing() {
    let file = File::new();
    let (lua, other) = (file.sandbox(), file.sandbox());
    let look = || {
        let claims =
            || lua.pending_runs().unwrap().into_iter().map(|r| (r.name, r.claimed.is_some())).collect::<Vec<_>>();
        let before = claims();
        let requests = other.look_at_pending_run("r").unwrap();
        let shown: Vec<_> = requests.iter().map(|r| (r.id, &*r.name, r.args.clone())).collect();
        assert_eq!(shown, [(1, "ask", vec!["q".into(), 2.into()])]);
        assert_eq!(claims(), before);
        // It is free again, and on the store as it is.
        assert_eq!(eval(&other, "return _home.x"), 1.into());
    };
    let run = start(&lua, "r", "_home.x = 1 local t = {ask('q', 2)} _home.x = 2 return t[1]");
    // While somebody has it, and while nobody has.
    look();
    drop(run);
    look();
    let mut run = lua.resume("r").unwrap();
    look();
    go_on(&mut run, 5);
    assert_eq!(run.into_result().unwrap().values, [5.into()]);
    assert_eq!(eval(&other, "return _home.x"), 2.into());
    assert_eq!(other.look_at_pending_run("r").unwrap_err().kind(), ErrorKind::InvalidArgument);
}
