//! Runs as futures, through the public interface and with several executors' ways of driving them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[macro_use]
mod forward;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_timer::Delay;
use futures_util::future::join_all;
use luacell::{
    Canceller, ComputeOptions, Engine, EngineConfig, Error, ErrorKind, Function, Reply, Sandbox, SandboxConfig, threads,
};
use pollster::block_on;

fn options() -> ComputeOptions {
    ComputeOptions::new()
}

fn with_sleep() -> Sandbox {
    let lua = Sandbox::new().unwrap();
    add_sleep(&lua);
    lua
}

fn add_sleep(lua: &Sandbox) {
    lua.register_async("sleep", |ms: u64| async move {
        Delay::new(Duration::from_millis(ms)).await;
        Ok(ms as i64)
    })
    .unwrap();
}

fn poll_once<T>(future: std::pin::Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_script_waits_in_plain_code() {
    let lua = with_sleep();
    let source = "local a = sleep(5) local t = {} for i, v in ipairs({1, 2, 3}) do t[i] = sleep(v) end
        local ok, b = pcall(sleep, 3) local c = coroutine.wrap(function() coroutine.yield(sleep(2)) end)()
        local m = setmetatable({}, {__index = function(_, k) return sleep(k) end}) print(t[1], t[3])
        return a, ok, b, c, m[4], (('x'):gsub('x', function() return sleep(1) end))";
    let out = block_on(lua.compute_async(source, options())).unwrap();
    assert_eq!(out.values, [5.into(), true.into(), 3.into(), 2.into(), 4.into(), "1".into()]);
    assert_eq!(out.output, "1\t3\n");
    assert!(out.metrics.host_calls >= 7);
    // The same script without a future: the thread sleeps.
    assert_eq!(lua.compute(source).unwrap().values, out.values);
    // And in a sandbox that never waited before.
    assert_eq!(with_sleep().compute(source).unwrap().values, out.values);
    // Where a function of C is in between, only a thread can wait.
    let source = "local t = {3, 1, 2} table.sort(t, function(x, y) sleep(1) return x < y end) return t[1], t[3]";
    let error = block_on(lua.compute_async(source, options())).unwrap_err();
    assert!(error.message().ends_with("'sleep' can't wait inside 'table.sort'"), "{error}");
    assert_eq!(lua.compute(source).unwrap().values, [1.into(), 3.into()]);
}

/// The threads for bindings have nothing else to do.
#[test]
fn where_lua_cannot_be_suspended_a_thread_of_our_own_waits() {
    let (done, wait) = std::sync::mpsc::channel();
    let lua = with_sleep();
    threads::spawn(&Canceller::new(), move |place| {
        place.unwrap();
        let source = "local t, task = {3, 1, 2}, require 'task'
            table.sort(t, function(x, y) sleep(1) task.sleep(0.001) return x < y end) return t[1], t[3]";
        let out = block_on(lua.compute_async(source, options()));
        let source = "table.sort({2, 1}, function() sleep(1e9) end)";
        done.send((out, block_on(lua.compute_async(source, options().timeout(Duration::from_millis(5)))))).unwrap();
    });
    let (out, ended) = wait.recv().unwrap();
    assert_eq!(out.unwrap().values, [1.into(), 3.into()]);
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Timeout);
}

#[test]
fn the_state_moves_along() {
    let lua = with_sleep();
    let kept: Function = lua
        .compute("x = {1, 2, big = ('y'):rep(5000000)} co = coroutine.wrap(function() for i = 1, 9 do coroutine.yield(i) end end) co() _home.n = 5 return function() return #x.big end")
        .unwrap()
        .get()
        .unwrap();
    let out = block_on(lua.compute_async("sleep(1) return x[2], co(), _home.n, math.type(math.random(0))", options()))
        .unwrap();
    assert_eq!(out.values, [2.into(), 2.into(), 5.into(), "integer".into()]);
    assert_eq!(kept.call(()).unwrap().get::<i64>().unwrap(), 5_000_000);
    assert_eq!(lua.compute("return co()").unwrap().values, [3.into()]);
    lua.compute("function f(a, b) sleep(1) return a + b end").unwrap();
    let out = block_on(lua.call_async("f", options().args((1, 2)))).unwrap();
    assert_eq!(out.values, [3.into()]);
    lua.reset().unwrap();
    assert_eq!(block_on(lua.compute_async("return x, sleep(1)", options())).unwrap().values[1], 1.into());
}

#[test]
fn errors() {
    let lua = with_sleep();
    lua.register_async("fail", |()| async move {
        Delay::new(Duration::from_millis(1)).await;
        Err::<(), _>(Error::host("no luck"))
    })
    .unwrap();
    lua.register_async("panics", |()| async move {
        Delay::new(Duration::from_millis(1)).await;
        if true {
            panic!("oops");
        }
        Ok(())
    })
    .unwrap();
    let error = block_on(lua.compute_async("fail()", options().name("=x"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostFunction);
    assert_eq!(error.message(), "x:1: no luck");
    let out = block_on(lua.compute_async("return pcall(fail)", options())).unwrap();
    assert_eq!(out.values, [false.into(), "no luck".into()]);
    let error = block_on(lua.compute_async("panics()", options())).unwrap_err();
    assert!(error.message().contains("oops"), "{error}");
    assert_eq!(
        block_on(lua.compute_async("return sleep('x')", options())).unwrap_err().kind(),
        ErrorKind::HostFunction
    );
    let error = block_on(lua.compute_async("_home.x = 1 sleep(1) error('x')", options())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Runtime);
    assert!(lua.home().is_empty().unwrap());
    assert_eq!(block_on(lua.compute_async("return +", options())).unwrap_err().kind(), ErrorKind::Syntax);
}

#[test]
fn busy_while_it_waits() {
    let lua = Arc::new(with_sleep());
    let mut run = pin!(lua.compute_async("return sleep(30000)", options()));
    // Nothing happens before the first poll.
    lua.compute("x = 1").unwrap();
    assert!(poll_once(run.as_mut()).is_pending());
    assert_eq!(lua.compute("return 1").unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(lua.home().get("x").unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(block_on(lua.compute_async("return 1", options())).unwrap_err().kind(), ErrorKind::Busy);
    lua.interrupt();
    assert_eq!(block_on(run).unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(lua.compute("return x").unwrap().values, [1.into()]);
}

#[test]
fn the_deadline_counts_while_waiting() {
    let lua = with_sleep();
    let began = Instant::now();
    let short = || options().timeout(Duration::from_millis(30));
    let error = block_on(lua.compute_async("x = 1 pcall(sleep, 30000) x = 2", short())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(lua.compute("return x").unwrap().values, [1.into()]);
    // Also when the thread sleeps.
    assert_eq!(lua.compute_with("sleep(30000)", short()).unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(with_sleep().compute_with("sleep(30000)", short()).unwrap_err().kind(), ErrorKind::Timeout);
}

#[test]
fn interrupt_while_a_thread_sleeps() {
    let lua = with_sleep();
    let interrupter = lua.interrupter();
    let (tell, wait) = std::sync::mpsc::channel();
    lua.register("going", move |()| {
        tell.send(()).ok();
        Ok(())
    })
    .unwrap();
    let thread = std::thread::spawn(move || {
        wait.recv().unwrap();
        interrupter.interrupt();
    });
    assert_eq!(lua.compute("going() sleep(30000)").unwrap_err().kind(), ErrorKind::Interrupted);
    thread.join().unwrap();
}

#[test]
fn dropping_the_future_cancels_cleanly() {
    struct Notes(Arc<AtomicBool>);
    impl Drop for Notes {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let lua = with_sleep();
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&dropped);
    lua.register_async("forever", move |()| {
        let notes = Notes(Arc::clone(&flag));
        async move {
            let _notes = notes;
            std::future::pending::<()>().await;
            Ok(())
        }
    })
    .unwrap();
    lua.compute("state = 'kept'").unwrap();
    for source in [
        "_home.x = 1 state2 = 1 forever()",
        "while true do pcall(forever) end",
        "local c <close> = setmetatable({}, {__close = function() while true do end end}) forever()",
        "coroutine.wrap(function() forever() end)()",
    ] {
        {
            let mut run = pin!(lua.compute_async(source, options()));
            assert!(poll_once(run.as_mut()).is_pending());
            assert!(poll_once(run.as_mut()).is_pending());
        }
        assert!(dropped.swap(false, Ordering::SeqCst), "{source}");
        assert_eq!(lua.compute("return state, state2").unwrap().values, ["kept".into(), 1.into()], "{source}");
        assert!(lua.home().is_empty().unwrap());
    }
    // Dropped before it began, and after the sandbox was closed.
    drop(lua.compute_async("x = 1", options()));
    let mut run = Box::pin(lua.compute_async("forever()", options()));
    assert!(poll_once(run.as_mut()).is_pending());
    lua.close();
    drop(run);
    assert_eq!(lua.compute("return 1").unwrap_err().kind(), ErrorKind::Closed);
    let lua = with_sleep();
    let run = lua.compute_async("return sleep(5)", options());
    drop(lua);
    assert_eq!(block_on(run).unwrap().values, [5.into()]);
}

#[test]
fn host_functions_of_both_kinds_use_the_sandbox() {
    let lua = with_sleep();
    lua.register("call", |f: Function| f.call(7).map(|out| out.values)).unwrap();
    lua.register_async("call_later", |f: Function| async move {
        let before = f.call(1)?.get::<i64>()?;
        Delay::new(Duration::from_millis(2)).await;
        let after = f.call(2)?.get::<i64>()?;
        Ok((before, after))
    })
    .unwrap();
    let source = "local a = call(function(n) return n + sleep(1) end)
        local b, c = call_later(function(n) return n * 10 + sleep(1) end)
        return a, b, c, call(function() return call(function(n) return call_later(function(n) return n end) end) end)";
    let expected = [8.into(), 11.into(), 21.into(), 1.into(), 2.into()];
    assert_eq!(block_on(lua.compute_async(source, options())).unwrap().values, expected);
    assert_eq!(lua.compute(source).unwrap().values, expected);
    assert_eq!(with_call(source), expected);
}

fn with_call(source: &str) -> Vec<luacell::Value> {
    let lua = with_sleep();
    lua.register("call", |f: Function| f.call(7).map(|out| out.values)).unwrap();
    lua.register_async(
        "call_later",
        |f: Function| async move { Ok((f.call(1)?.get::<i64>()?, f.call(2)?.get::<i64>()?)) },
    )
    .unwrap();
    lua.compute(source).unwrap().values
}

#[test]
fn many_sandboxes_wait_on_few_threads() {
    const SANDBOXES: usize = 1000;
    let engine = Engine::new(EngineConfig::new().pool_size(SANDBOXES as u32)).unwrap();
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let sandboxes: Vec<Sandbox> = (0..SANDBOXES)
        .map(|_| {
            let lua = engine.sandbox(SandboxConfig::new()).unwrap();
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            lua.register_async("fetch", move |n: i64| {
                let (running, most) = (Arc::clone(&running), Arc::clone(&most));
                async move {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    Delay::new(Duration::from_millis(100)).await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok(n * 2)
                }
            })
            .unwrap();
            lua
        })
        .collect();
    let began = Instant::now();
    let runs = sandboxes
        .iter()
        .enumerate()
        .map(|(i, lua)| lua.compute_async("local n = ... local r = fetch(n) return r + 1", options().args(i as i64)));
    let results = block_on(join_all(runs));
    println!("{SANDBOXES} sandboxes: {:?}", began.elapsed());
    for (i, result) in results.into_iter().enumerate() {
        assert_eq!(result.unwrap().get::<i64>().unwrap(), i as i64 * 2 + 1);
    }
    // All at once, on this one thread.
    assert_eq!(most.load(Ordering::SeqCst), SANDBOXES);
}

#[test]
fn runs_move_between_threads() {
    let lua = Arc::new(with_sleep());
    let results = Arc::new(Mutex::new(Vec::new()));
    for i in 0..4 {
        let mut run =
            Box::pin(lua.compute_async("local n = 0 for i = 1, 3 do n = n + sleep(1) end return n", options()));
        let _ = poll_once(run.as_mut());
        let into = Arc::clone(&results);
        std::thread::spawn(move || into.lock().unwrap().push(block_on(run).unwrap().values)).join().unwrap();
        assert_eq!(results.lock().unwrap().len(), i + 1);
    }
    assert!(results.lock().unwrap().iter().all(|values| *values == [3.into()]));
}

#[test]
fn endless_work_between_waits_is_bounded_too() {
    let lua = with_sleep();
    let limited = options().instruction_limit(1_000_000);
    let error = block_on(lua.compute_async("sleep(1) while true do end", limited)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InstructionLimit);
    // Each wait gives the thread back once.
    lua.register_async("turn", |()| async {
        let mut waited = false;
        poll_fn(|task| {
            task.waker().wake_by_ref();
            if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        Ok(())
    })
    .unwrap();
    let mut polled = 0;
    let mut run = pin!(lua.compute_async("for i = 1, 5 do turn() end return 1", options()));
    let out = block_on(poll_fn(|task| {
        polled += 1;
        run.as_mut().poll(task)
    }));
    assert_eq!(out.unwrap().values, [1.into()]);
    assert_eq!(polled, 6);
}

/// Panics when it is told to.
struct Fragile(luacell::MemoryStore);

impl luacell::TableStore for Fragile {
    pass_on!(set delete size keys);
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> luacell::StoreResult<bool> {
        assert_ne!(key, "panic");
        self.0.get(table, key, read)
    }
}

#[test]
fn a_store_that_panics_ends_the_run_not_the_program() {
    let open = || {
        let store = Fragile(luacell::MemoryStore::new());
        let lua = Sandbox::with_config(SandboxConfig::new().store(store)).unwrap();
        add_sleep(&lua);
        lua
    };
    let lua = open();
    let run = lua.compute_async("return _home.panic", options());
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| block_on(run))).is_err());
    assert_eq!(lua.compute("return 1").unwrap().values, [1.into()]);
    // While it is cancelled.
    let lua = open();
    let source = "local c <close> = setmetatable({}, {__close = function() return _home.panic end}) sleep(30000)";
    {
        let mut run = pin!(lua.compute_async(source, options()));
        assert!(poll_once(run.as_mut()).is_pending());
    }
    assert_eq!(lua.compute("return 1").unwrap().values, [1.into()]);
}

/// That an executor has other things to do is none of the script's doing.
#[test]
fn waiting_for_a_thread_is_not_the_scripts_time() {
    const TIMEOUT: Duration = Duration::from_millis(100);
    let late = || {
        let since = Instant::now();
        while since.elapsed() < 3 * TIMEOUT {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let lua = Sandbox::new().unwrap();
    let (tell, told) = (Arc::new(Mutex::new(None::<Waker>)), Arc::new(AtomicBool::new(false)));
    let (waker, flag) = (Arc::clone(&tell), Arc::clone(&told));
    lua.register_async("signal", move |()| {
        let (waker, flag) = (Arc::clone(&waker), Arc::clone(&flag));
        poll_fn(move |task| {
            *waker.lock().unwrap() = Some(task.waker().clone());
            if flag.swap(false, Ordering::SeqCst) { Poll::Ready(Ok(1)) } else { Poll::Pending }
        })
    })
    .unwrap();
    let answer = || {
        told.store(true, Ordering::SeqCst);
        if let Some(waker) = tell.lock().unwrap().take() {
            waker.wake();
        }
    };
    let run = |source: &'static str| lua.compute_async(source, options().timeout(TIMEOUT));
    // Nor is waiting for the first thread.
    let mut first = pin!(run("return signal() + signal()"));
    late();
    assert!(poll_once(first.as_mut()).is_pending());
    answer();
    late();
    assert!(poll_once(first.as_mut()).is_pending());
    answer();
    late();
    let Poll::Ready(out) = poll_once(first.as_mut()) else { panic!("it could go on") };
    assert_eq!(out.unwrap().values, [2.into()]);
    // Waiting for the host function is, and so is what the script does then.
    for (source, answers) in [("signal()", false), ("signal() while true do end", true)] {
        let mut run = pin!(run(source));
        assert!(poll_once(run.as_mut()).is_pending());
        if answers {
            answer();
        }
        late();
        let Poll::Ready(out) = poll_once(run.as_mut()) else { panic!("its time is over: {source}") };
        assert_eq!(out.unwrap_err().kind(), ErrorKind::Timeout, "{source}");
    }
}

/// Side by side: all of them have begun before the first is done.
#[test]
fn one_script_waits_for_many_at_once() {
    let lua = Sandbox::new().unwrap();
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&open), Arc::clone(&most));
    lua.register_async("fetch", move |n: i64| {
        let (open, most) = (Arc::clone(&counts.0), Arc::clone(&counts.1));
        async move {
            let now = open.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            futures_timer::Delay::new(Duration::from_millis(20)).await;
            open.fetch_sub(1, Ordering::SeqCst);
            Ok(n * 2)
        }
    })
    .unwrap();
    let source = "local task = require 'task'
        local a, b = task.all(function() return fetch(1) end, function() return fetch(2) end)
        local list = {} for i = 1, 50 do list[i] = i end
        local sum = 0 for _, v in ipairs(task.each(list, fetch, {limit = 7})) do sum = sum + v end
        local first = task.race(function() task.sleep(0.001) return 'slept' end, function() return fetch(3) end)
        return a, b, sum, first";
    let out = block_on(lua.compute_async(source, options())).unwrap();
    assert_eq!(out.values, [2.into(), 4.into(), 2550.into(), "slept".into()]);
    assert_eq!(most.load(Ordering::SeqCst), 7);
    // The same script without a future: one after another.
    open.store(0, Ordering::SeqCst);
    most.store(0, Ordering::SeqCst);
    assert_eq!(lua.compute(source).unwrap().values, out.values);
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

/// What a host function does in the run that waits for it may be what another part of that run waits for.
#[test]
fn a_host_function_lets_the_run_that_waits_for_it_go_on() {
    let lua = Sandbox::new().unwrap();
    lua.register_async("never", |()| std::future::pending::<luacell::Result<()>>()).unwrap();
    lua.register_async("later", |f: Function| async move {
        futures_timer::Delay::new(Duration::from_millis(1)).await;
        f.call(())?;
        std::future::pending::<()>().await;
        Ok(())
    })
    .unwrap();
    let source = "local task = require 'task'
        local a = task.spawn(never)
        local b = task.spawn(later, function() a:cancel() end)
        local ok, e = pcall(a.wait, a)
        b:cancel()
        return ok, e";
    let out = block_on(lua.compute_async(source, options())).unwrap();
    assert_eq!(out.values, [false.into(), "the task was cancelled".into()]);
}

#[test]
fn a_function_waits_only_sometimes() {
    let lua = Sandbox::new().unwrap();
    let called = Arc::new(AtomicUsize::new(0));
    let calls = Arc::clone(&called);
    lua.register_maybe_async("get", true, move |n: i64| {
        calls.fetch_add(1, Ordering::SeqCst);
        Ok(match n {
            0 => return Err(Error::host("nothing")),
            1..=9 => Reply::Now(vec![(n * 2).into()]),
            _ => Reply::Later(Box::pin(async move {
                Delay::new(Duration::from_millis(1)).await;
                Ok(vec![n.into(), true.into()])
            })),
        })
    })
    .unwrap();
    let source = "local ok, e = pcall(get, 0) return get(2) + get(10), ok, (e:match('nothing'))";
    let out = block_on(lua.compute_async(source, options())).unwrap();
    assert_eq!(out.values, [14.into(), false.into(), "nothing".into()]);
    assert_eq!(lua.compute(source).unwrap().values, out.values);
    // What can't wait there is called, and nobody waits for it.
    called.store(0, Ordering::SeqCst);
    let source = "local t = {10, 2} table.sort(t, function(x, y) return get(x) < get(y) end)";
    let error = block_on(lua.compute_async(source, options())).unwrap_err();
    assert!(error.message().contains("'get' can't wait inside 'table.sort'"), "{error}");
    assert!(called.load(Ordering::SeqCst) > 0);
    let plain = "local t = {3, 2} table.sort(t, function(x, y) return get(x) < get(y) end) return t[1]";
    assert_eq!(block_on(lua.compute_async(plain, options())).unwrap().values, [2.into()]);
}

/// What a host function runs before it waits may wait as well, and each gets its own answer.
#[test]
fn requests_of_a_run_inside_a_call_have_numbers_of_their_own() {
    let lua = Arc::new(Sandbox::with_config(SandboxConfig::new().timeout(Duration::from_secs(20))).unwrap());
    let inside = Arc::downgrade(&lua);
    lua.register_maybe_async("outer", false, move |(): ()| {
        let source = "t = require 'task'.spawn(function() return require 'task'.sleep(0.001), 'slept' end)";
        inside.upgrade().unwrap().compute(source)?;
        Ok(Reply::Later(Box::pin(async {
            Delay::new(Duration::from_millis(5)).await;
            Ok(vec!["outer".into()])
        })))
    })
    .unwrap();
    let out = block_on(lua.compute_async("local r = outer() return r, t:wait()", options())).unwrap();
    assert_eq!(out.values, ["outer".into(), luacell::Value::Nil, "slept".into()]);
}

/// What becomes ready while the script computes has not waited for a thread.
#[test]
fn computing_while_something_becomes_ready_is_the_scripts_time() {
    let lua = Sandbox::with_config(SandboxConfig::new().timeout(Duration::from_millis(500))).unwrap();
    let begun = Instant::now();
    lua.register("over", move |()| Ok(begun.elapsed() > Duration::from_secs(20))).unwrap();
    let source = "local task = require 'task'
        while not over() do
            for i = 1, 10 do task.spawn(task.sleep, i / 1000) end
            for i = 1, 4e6 do end
            task.sleep(0)
        end";
    assert_eq!(block_on(lua.compute_async(source, options())).unwrap_err().kind(), ErrorKind::Timeout);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

/// Who cancels a run that the library's threads drive need not know how far it is.
#[test]
fn a_cancelled_run_makes_nobody_busy() {
    let lua = with_sleep();
    for round in 0..300 {
        let (canceller, (done, ended)) = (Canceller::new(), std::sync::mpsc::channel());
        let source = if round % 2 == 0 { "while true do end" } else { "while true do sleep(1) end" };
        threads::drive(&canceller, lua.compute_async(source, options().canceller(&canceller)), move |result| {
            done.send(result).unwrap();
        });
        for _ in 0..round * 100 {
            std::hint::spin_loop();
        }
        canceller.cancel();
        assert_eq!(lua.compute("return 3").unwrap().values, [3.into()]);
        assert_eq!(ended.recv().unwrap().unwrap_err().kind(), ErrorKind::Interrupted);
    }
}

/// Whoever cancels a run may cancel its functions too, while they are at work. The script does not get to know how those
/// end.
#[test]
fn a_cancelled_function_is_no_error_of_the_script() {
    for source in ["f()", "pcall(f) seen()", "require('task').race(f, f)"] {
        let (lua, seen) = (Sandbox::new().unwrap(), Arc::new(AtomicBool::new(false)));
        let (canceller, flag) = (Canceller::new(), Arc::clone(&seen));
        let cancelled = canceller.clone();
        lua.register_async("f", move |(): ()| {
            let canceller = cancelled.clone();
            async move {
                canceller.cancel();
                Err::<(), _>(Error::host("cancelled"))
            }
        })
        .unwrap();
        lua.register("seen", move |(): ()| {
            flag.store(true, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        let run = lua.compute_async(source, options().canceller(&canceller));
        assert_eq!(block_on(run).unwrap_err().kind(), ErrorKind::Interrupted, "{source}");
        assert!(!seen.load(Ordering::SeqCst), "{source}");
    }
}

#[test]
fn functions_without_a_name_may_wait() {
    let later = Function::new_async(|n: i64| async move { Ok(n + 1) });
    let lua = Sandbox::new().unwrap();
    let options = || ComputeOptions::new().args((later.clone(), 1));
    let source = "local f, n = ... return f(f(n))";
    assert_eq!(block_on(lua.compute_async(source, options())).unwrap().values, [3.into()]);
    assert_eq!(lua.compute_with(source, options()).unwrap().values, [3.into()]);
    assert_eq!(later.call(1).unwrap_err().kind(), ErrorKind::InvalidArgument);
}
