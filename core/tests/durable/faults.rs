//! What goes wrong around a durable run, and what it must not lose or outlive by that.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};

use luacell::{Batch, Interrupter, StoreError};

use super::*;

/// A store that fails, or panics, from the moment on that its fuse has burnt down: each write shortens it.
#[derive(Clone)]
struct Fused {
    own: Own,
    left: Arc<AtomicI64>,
    panics: bool,
}

impl Fused {
    fn new(panics: bool) -> Self {
        Fused { own: Own::default(), left: Arc::new(AtomicI64::new(i64::MAX)), panics }
    }

    fn set_fuse(&self, writes: i64) {
        self.left.store(writes, Ordering::SeqCst);
    }

    fn fail_if(&self, over: bool) -> StoreResult<()> {
        match (over, self.panics) {
            (false, _) => Ok(()),
            (true, false) => Err("the store is gone".into()),
            (true, true) => panic!("on purpose"),
        }
    }

    fn shorten(&self) -> StoreResult<()> {
        self.fail_if(self.left.fetch_sub(1, Ordering::SeqCst) <= 0)
    }
}

impl TableStore for Fused {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        self.fail_if(key == "fuse" && self.left.load(Ordering::SeqCst) <= 0)?;
        self.own.get(table, key, read)
    }
    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.shorten()?;
        self.own.set(table, key, value)
    }
    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.shorten()?;
        self.own.delete(table, key)
    }
    fn size(&mut self, table: u32) -> StoreResult<u64> {
        self.own.size(table)
    }
    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        self.own.keys(table, visit)
    }
}

/// Goes on to its end, and keeps the number of the last request whose answer was stored.
fn drive(mut run: Run, kept: &mut u64) -> luacell::Result<Value> {
    while run.is_waiting() {
        for request in run.requests()? {
            assert!(request.id > *kept, "request {} again", request.id);
            *kept = request.id - 1;
            run.answer(request.id, request.id as i64 * 10)?;
        }
        run.resume()?;
    }
    Ok(run.into_result()?.values[0].clone())
}

#[test]
fn it_ends_once_whatever_write_is_the_last() {
    let source = "
        _home.log, _home.ended = {}, 0
        local made = {}
        for step = 1, 3 do
            made[step] = {ask('x')}
            _home.tables = made
            table.insert(_home.log, step)
        end
        _home.ended = _home.ended + 1
        return made[1][1] + made[2][1] + made[3][1]";
    let mut writes = 0;
    loop {
        let store = Fused::new(false);
        store.set_fuse(writes);
        let mut kept = 0;
        let ended = Sandbox::with_config(SandboxConfig::new().store(store.clone())).and_then(|lua| {
            lua.declare("ask")?;
            drive(lua.start(source, ComputeOptions::new().durable("r"))?, &mut kept)
        });
        // Nothing of that comes to the store any more.
        let lua = sandbox(Own(Arc::new(Mutex::new(store.own.0.lock().unwrap().clone()))));
        match names(&lua).pop() {
            Some(name) => assert_eq!(drive(lua.resume(&name).unwrap(), &mut kept).unwrap(), 60.into()),
            // It had not begun to wait.
            None if eval(&lua, "return _home.ended") == Value::Nil => assert_eq!(kept, 0, "it is gone after {writes}"),
            None => {}
        }
        if kept > 0 {
            let end = eval(&lua, "return #_home.log .. ' ' .. _home.ended .. ' ' .. _home.tables[3][1]");
            assert_eq!(end, "3 1 30".into(), "after {writes} writes");
        }
        assert!(names(&lua).is_empty());
        if ended.is_ok() {
            break;
        }
        writes += 1;
    }
    assert!(writes > 20, "{writes}");
}

#[test]
fn a_store_that_panics_leaves_it_where_it_waited() {
    let store = Fused::new(true);
    let lua = sandbox(store.clone());
    let mut run = start(&lua, "r", "ask('x') local _ = _home.fuse return 7");
    run.answer(1, true).unwrap();
    store.set_fuse(0);
    assert!(catch_unwind(AssertUnwindSafe(|| run.resume())).is_err());
    store.set_fuse(i64::MAX);
    drop(run);
    // What others do here is not the end of it.
    lua.compute("_home.x = 1").unwrap();
    assert_eq!(names(&lua), ["r"]);
    drop(lua.start("ask('y')", ComputeOptions::new()).unwrap());
    let mut run = lua.resume("r").unwrap();
    go_on(&mut run, true);
    assert_eq!(run.into_result().unwrap().values, [7.into()]);
}

#[test]
fn what_the_host_does_for_it_while_it_waits_is_not_lost_in_silence() {
    let file = File::new();
    let (lua, other) = (file.sandbox(), file.sandbox());
    for (what, used) in [
        ("a run", (|lua| drop(lua.compute("seen = true").unwrap())) as fn(&Sandbox)),
        ("a write", |lua| lua.home().set("host", true).unwrap()),
    ] {
        lua.compute("_home.n = 0").unwrap();
        let mut run = start(&lua, "r", "local a = ask('x') _home.n = _home.n + a return seen, _home.host");
        assert_eq!(lua.home().get("n").unwrap(), 0.into());
        used(&lua);
        other.compute("_home.n = 10").unwrap();
        go_on(&mut run, 1);
        let error = run.into_result().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{what}");
        assert!(error.to_string().contains("was used for it meanwhile"), "{error}");
        // Whoever goes on with it can do that again.
        let mut run = lua.resume("r").unwrap();
        used(&lua);
        go_on(&mut run, 1);
        assert!(run.into_result().unwrap().values.contains(&true.into()), "{what}");
        assert_eq!(eval(&lua, "return _home.n"), 11.into());
        lua.reset().unwrap();
    }
}

#[test]
fn its_time_is_for_all_that_it_does_after_conflicts() {
    let file = File::new();
    let (lua, other) = (file.sandbox(), file.sandbox());
    lua.compute("_home.n = 0").unwrap();
    let tries = Arc::new(AtomicI64::new(0));
    let counted = Arc::clone(&tries);
    lua.register_repeatable("slow", move |()| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        other.compute("_home.n = _home.n + 1").map(drop)
    })
    .unwrap();
    let source = "ask('x') local n = _home.n slow() _home.n = n + 1";
    let limit = Duration::from_millis(200);
    let mut run = lua.start(source, ComputeOptions::new().durable("r").timeout(Some(limit))).unwrap();
    go_on(&mut run, true);
    assert_eq!(run.into_result().unwrap_err().kind(), ErrorKind::Timeout);
    assert!(tries.load(Ordering::SeqCst) <= 4, "{tries:?}");
}

/// Once it has an interrupter, the next commit is in conflict with somebody, and asking for the run that waits interrupts it.
#[derive(Clone, Default)]
struct Interrupting {
    own: Own,
    interrupter: Arc<Mutex<Option<Interrupter>>>,
    commits: Arc<AtomicI64>,
}

impl TableStore for Interrupting {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        if table == u32::MAX - 1
            && let Some(interrupter) = &*self.interrupter.lock().unwrap()
        {
            interrupter.interrupt();
        }
        self.own.get(table, key, read)
    }
    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.own.set(table, key, value)
    }
    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.own.delete(table, key)
    }
    fn size(&mut self, table: u32) -> StoreResult<u64> {
        self.own.size(table)
    }
    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        self.own.keys(table, visit)
    }
    fn commit(&mut self, batch: &mut Batch<'_>) -> StoreResult<()> {
        if self.interrupter.lock().unwrap().is_some() && self.commits.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(StoreError::conflict("somebody was faster"));
        }
        self.own.commit(batch)
    }
}

#[test]
fn who_interrupts_it_between_two_tries_means_it() {
    let store = Interrupting::default();
    let lua = sandbox(store.clone());
    let mut run = start(&lua, "r", "ask('x') _home.n = 1");
    run.answer(1, true).unwrap();
    *store.interrupter.lock().unwrap() = Some(lua.interrupter());
    run.resume().unwrap();
    assert_eq!(run.into_result().unwrap_err().kind(), ErrorKind::Interrupted);
    assert!(store.commits.load(Ordering::SeqCst) > 0);
    assert_eq!(names(&lua), ["r"]);
}

/// Who has taken it over may have ended it by then.
#[test]
fn a_run_that_somebody_else_has_ended_was_taken_over() {
    let file = File::new();
    let config = SandboxConfig::new().store(file.store()).claim_term(Duration::from_millis(1));
    let slow = Sandbox::with_config(config).unwrap();
    slow.declare("ask").unwrap();
    let other = file.sandbox();
    slow.compute("_home.n = 0").unwrap();
    slow.register_repeatable("end_it", move |()| {
        while other.pending_runs()?[0].claimed.is_some() {}
        let mut run = other.resume("r")?;
        other.register("end_it", |()| Ok(()))?;
        go_on(&mut run, 1);
        run.into_result().map(drop)
    })
    .unwrap();
    let mut run = start(&slow, "r", "local a = ask('x') _home.n = _home.n + a end_it()");
    go_on(&mut run, 1);
    let error = run.into_result().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(eval(&slow, "return _home.n"), 1.into());
}

/// As with other host functions, an answer for which there is no room is an error of its call.
#[test]
fn answers_that_are_too_large_do_not_end_it() {
    let file = File::new();
    let lua = Sandbox::with_config(SandboxConfig::new().store(file.store()).memory_limit(8 << 20)).unwrap();
    lua.declare("ask").unwrap();
    let source = "
        local task, sizes = require 'task', {}
        local asking = {}
        for i = 1, 12 do
            asking[i] = function()
                local ok, text = pcall(ask, 'x')
                sizes[i] = ok and #text or text
            end
        end
        task.all(table.unpack(asking))
        return table.concat(sizes, ' ')";
    let mut run = start(&lua, "r", source);
    for request in run.requests().unwrap() {
        let size = if request.id == 5 { 9 << 20 } else { 1 << 20 };
        run.answer(request.id, "x".repeat(size)).unwrap();
    }
    run.resume().unwrap();
    let mut wanted = ["1048576"; 12];
    wanted[4] = "not enough memory";
    assert_eq!(run.into_result().unwrap().values, [wanted.join(" ").into()]);
}
