//! Many runs on luacell's own threads, of which some compute on and on.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::available_parallelism;
use std::time::Instant;

use luacell::{Canceller, ComputeOptions, ErrorKind, Result, Sandbox, threads};

/// The places are those of the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn run(source: &str, options: ComputeOptions, done: Sender<Result<()>>) {
    let (lua, source) = (Sandbox::new().unwrap(), source.to_owned());
    threads::spawn(&Canceller::new(), move |place| {
        let result = place.and_then(|()| lua.compute_with(source, options)).map(drop);
        let _ = done.send(result);
    });
}

/// Starts scripts that compute until they are cancelled, many for each processor.
fn endless(canceller: &Canceller) -> (usize, Receiver<Result<()>>) {
    let (done, ends) = channel();
    let count = 20 * available_parallelism().map_or(2, usize::from).max(2);
    for _ in 0..count {
        run("while true do end", ComputeOptions::new().timeout(None).canceller(canceller), done.clone());
    }
    (count, ends)
}

/// When they are cancelled, those end as well that wait for their turn.
fn end(canceller: &Canceller, count: usize, ends: &Receiver<Result<()>>) {
    canceller.cancel();
    for _ in 0..count {
        assert_eq!(ends.recv().unwrap().unwrap_err().kind(), ErrorKind::Interrupted);
    }
}

#[test]
fn who_computes_little_is_not_held_up_by_who_computes_long() {
    let _alone = alone();
    let over = Arc::new(AtomicBool::new(false));
    let (done, ends) = channel();
    let count = 8 * available_parallelism().map_or(2, usize::from).max(2);
    for _ in 0..count {
        run("for i = 1, 1e8 do end", ComputeOptions::new().timeout(None), done.clone());
    }
    let little = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            for _ in 0..100 {
                let (done, end) = channel();
                run("return 1", ComputeOptions::new(), done);
                end.recv().unwrap().unwrap();
            }
            over.store(true, Ordering::SeqCst);
        }
    });
    ends.recv().unwrap().unwrap();
    assert!(over.load(Ordering::SeqCst), "a hundred short runs, one after the other, took longer than a long one");
    little.join().unwrap();
    (1..count).for_each(|_| ends.recv().unwrap().unwrap());
}

#[test]
fn the_time_until_its_turn_is_not_the_scripts() {
    let _alone = alone();
    let source = "for i = 1, 2e7 do end";
    let begun = Instant::now();
    Sandbox::new().unwrap().compute(source).unwrap();
    let timeout = 8 * begun.elapsed();
    let canceller = Canceller::new();
    let (count, ends) = endless(&canceller);
    let (done, result) = channel();
    run(source, ComputeOptions::new().timeout(timeout), done);
    result.recv().unwrap().unwrap();
    end(&canceller, count, &ends);
}

#[test]
fn a_run_that_waits_for_its_turn_can_be_interrupted() {
    let _alone = alone();
    let canceller = Canceller::new();
    let (count, ends) = endless(&canceller);
    let lua = Arc::new(Sandbox::new().unwrap());
    let (begun, begins) = channel();
    lua.register("begun", move |()| {
        let _ = begun.send(());
        Ok(())
    })
    .unwrap();
    for _ in 0..20 {
        let (done, result) = channel();
        let inner = Arc::clone(&lua);
        threads::spawn(&Canceller::new(), move |place| {
            let _ = done.send(place.and_then(|()| inner.compute("begun() while true do end")).map(drop));
        });
        begins.recv().unwrap();
        lua.interrupt();
        assert_eq!(result.recv().unwrap().unwrap_err().kind(), ErrorKind::Interrupted);
        lua.compute("return 1").unwrap();
    }
    end(&canceller, count, &ends);
}
