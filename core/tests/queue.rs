//! Sandboxes on one store whose runs take turns.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use luacell::{ComputeOptions, ErrorKind, FileStore, Sandbox, SandboxConfig};

fn file() -> (tempfile::TempDir, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("state.luacell")).unwrap();
    (folder, store)
}

/// Repeats nothing: who collides fails.
fn sandbox(store: &FileStore) -> Sandbox {
    let config = SandboxConfig::new().store(store.clone()).queue_runs(true).conflict_retries(0);
    Sandbox::with_config(config).unwrap()
}

#[test]
fn threads_collide_no_more() {
    let (_folder, store) = file();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let lua = sandbox(&store);
                // The host function leaves time for others.
                lua.register("price", |()| {
                    std::thread::yield_now();
                    Ok(1)
                })
                .unwrap();
                for _ in 0..25 {
                    lua.compute("local n = _home.n or 0 local p = price() _home.n = n + p").unwrap();
                }
            });
        }
    });
    assert_eq!(sandbox(&store).compute("return _home.n").unwrap().values, [100.into()]);
}

#[test]
fn futures_collide_no_more() {
    let (_folder, store) = file();
    let under_way = Arc::new(AtomicUsize::new(0));
    let sandboxes: Vec<Sandbox> = (0..10).map(|_| sandbox(&store)).collect();
    let runs = sandboxes.iter().map(|lua| {
        let under_way = Arc::clone(&under_way);
        lua.register_async("price", move |()| {
            let under_way = Arc::clone(&under_way);
            async move {
                assert_eq!(under_way.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                futures_timer::Delay::new(Duration::from_millis(2)).await;
                under_way.fetch_sub(1, Ordering::SeqCst);
                Ok(1)
            }
        })
        .unwrap();
        lua.compute_async("_home.n = (_home.n or 0) + price()", ComputeOptions::new())
    });
    let results = pollster::block_on(futures_util::future::join_all(runs));
    results.into_iter().for_each(|result| drop(result.unwrap()));
    assert_eq!(sandboxes[0].compute("return _home.n").unwrap().values, [10.into()]);
}

#[test]
fn waiting_for_a_turn_is_not_the_runs_time_and_can_be_interrupted() {
    let (_folder, store) = file();
    let (first, second) = (sandbox(&store), sandbox(&store));
    first.declare("ask").unwrap();
    let run = first.start("_home.a = ask()", ComputeOptions::new()).unwrap();
    std::thread::scope(|scope| {
        let interrupter = second.interrupter();
        let waits = scope.spawn(|| second.compute("return 1"));
        while !waits.is_finished() {
            interrupter.interrupt();
        }
        assert_eq!(waits.join().unwrap().unwrap_err().kind(), ErrorKind::Interrupted);
        let short = ComputeOptions::new().timeout(Duration::from_millis(20));
        let waits = scope.spawn(|| second.compute_with("return 2", short));
        std::thread::sleep(Duration::from_millis(40));
        assert!(!waits.is_finished());
        run.cancel();
        assert_eq!(waits.join().unwrap().unwrap().values, [2.into()]);
    });
}

#[test]
fn who_would_wait_for_itself_is_told() {
    let (_folder, store) = file();
    let (outer, inner) = (sandbox(&store), sandbox(&store));
    outer.register("other", move |source: String| inner.compute(source).map(|out| out.values)).unwrap();
    let error = outer.compute("return other('return 1')").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostFunction);
    assert!(error.to_string().contains("would wait for this one"), "{error}");
    assert_eq!(outer.compute("return 1").unwrap().values, [1.into()]);
}

#[test]
fn a_durable_run_gives_its_turn_back_while_it_waits() {
    let (_folder, store) = file();
    let (first, second) = (sandbox(&store), sandbox(&store));
    first.declare("ask").unwrap();
    let mut run = first.start("local a = ask() _home.n = _home.n + a", ComputeOptions::new().durable("r")).unwrap();
    second.compute("_home.n = 40").unwrap();
    run.answer(1, 2).unwrap();
    run.resume().unwrap();
    run.into_result().unwrap();
    assert_eq!(second.compute("return _home.n").unwrap().values, [42.into()]);
}

#[test]
fn a_run_that_is_resumed_and_interrupted_in_line_goes_on_later() {
    let (_folder, store) = file();
    let (first, second) = (sandbox(&store), sandbox(&store));
    [&first, &second].into_iter().for_each(|lua| lua.declare("ask").unwrap());
    let mut run = first.start("return ask()", ComputeOptions::new().durable("r")).unwrap();
    let holder = std::thread::scope(|scope| {
        scope.spawn(|| second.start("return ask()", ComputeOptions::new()).unwrap()).join().unwrap()
    });
    run.answer(1, 1).unwrap();
    let interrupter = first.interrupter();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                interrupter.interrupt();
            }
        });
        run.resume().unwrap();
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(run.into_result().unwrap_err().kind(), ErrorKind::Interrupted);
    holder.cancel();
    assert_eq!(first.compute("return 1").unwrap().values, [1.into()]);
    let mut run = first.resume("r").unwrap();
    run.answer(1, 2).unwrap();
    run.resume().unwrap();
    assert_eq!(run.into_result().unwrap().values, [2.into()]);
}

#[test]
fn a_future_that_would_wait_for_itself_is_told() {
    let (_folder, store) = file();
    let (outer, inner) = (sandbox(&store), Arc::new(sandbox(&store)));
    let used = Arc::clone(&inner);
    outer
        .register_async("other", move |source: String| {
            let inner = Arc::clone(&used);
            async move { inner.compute(source).map(|out| out.values) }
        })
        .unwrap();
    let used = Arc::clone(&inner);
    outer.register("now", move |source: String| used.compute(source).map(|out| out.values)).unwrap();
    for function in ["other", "now"] {
        let run = outer.compute_async(format!("return {function}('return 1')"), ComputeOptions::new());
        let error = pollster::block_on(run).unwrap_err();
        assert!(error.to_string().contains("would wait for this one"), "{error}");
    }
    assert_eq!(inner.compute("return 1").unwrap().values, [1.into()]);
}

#[test]
fn waiting_in_line_is_not_the_time_of_a_run_that_is_resumed() {
    let (_folder, store) = file();
    let (first, second) = (sandbox(&store), sandbox(&store));
    [&first, &second].into_iter().for_each(|lua| lua.declare("ask").unwrap());
    let limit = Duration::from_millis(100);
    let options = ComputeOptions::new().durable("r").timeout(Some(limit));
    let mut run = first.start("return ask()", options).unwrap();
    run.answer(1, 1).unwrap();
    let (begun, wait) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let holder = second.start("return ask()", ComputeOptions::new()).unwrap();
            begun.send(()).unwrap();
            std::thread::sleep(2 * limit);
            holder.cancel();
        });
        wait.recv().unwrap();
        run.resume().unwrap();
    });
    assert_eq!(run.into_result().unwrap().values, [1.into()]);
}

#[test]
fn who_closes_a_sandbox_ends_the_turn_of_its_run() {
    let (_folder, store) = file();
    let (first, second) = (sandbox(&store), sandbox(&store));
    first.declare("ask").unwrap();
    let run = first.start("return ask()", ComputeOptions::new()).unwrap();
    assert_eq!(second.compute("return 1").unwrap_err().kind(), ErrorKind::Busy);
    first.close();
    assert_eq!(second.compute("return 1").unwrap().values, [1.into()]);
    drop((run, first));
}

/// Who has it is who would have to end it.
#[test]
fn a_run_that_another_thread_goes_on_with_has_its_turn_there() {
    let (_folder, store) = file();
    let (first, second) = (sandbox(&store), sandbox(&store));
    first.declare("ask").unwrap();
    let mut run = first.start("ask() return ask()", ComputeOptions::new()).unwrap();
    let busy = || {
        let error = second.compute("return 1").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    };
    busy();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            run.take_over().unwrap();
            busy();
        });
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            run.answer(1, 1).unwrap();
            run.resume().unwrap();
            busy();
        });
    });
    run.take_over().unwrap();
    busy();
    run.cancel();
    assert_eq!(second.compute("return 1").unwrap().values, [1.into()]);
}

/// Also one that has not had its turn yet, for it needs this thread to take it.
#[test]
fn who_would_wait_for_a_future_in_line_that_it_has_to_drive_is_told() {
    let (_folder, store) = file();
    let [first, second, third] = [(); 3].map(|()| sandbox(&store));
    first.declare("ask").unwrap();
    let (begun, wait) = std::sync::mpsc::channel();
    let (let_go, go) = std::sync::mpsc::channel::<()>();
    let holder = std::thread::spawn(move || {
        let run = first.start("return ask()", ComputeOptions::new()).unwrap();
        begun.send(()).unwrap();
        go.recv().unwrap();
        run.cancel();
    });
    wait.recv().unwrap();
    let mut future = std::pin::pin!(second.compute_async("return 1", ComputeOptions::new()));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    // As bindings do that poll on a thread of their own what an event loop drives.
    let this = std::thread::current().id();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut poll = || future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
            assert!(luacell::threads::work_for(this, &mut poll).is_pending());
        });
    });
    assert_eq!(third.compute("return 1").unwrap_err().kind(), ErrorKind::Busy);
    let_go.send(()).unwrap();
    holder.join().unwrap();
    while future.as_mut().poll(&mut context).is_pending() {}
    assert_eq!(third.compute("return 1").unwrap().values, [1.into()]);
}
