//! Durable runs of several workers on one server.

use std::time::Duration;

use luacell::{ComputeOptions, ErrorKind, Run, Sandbox, SandboxConfig};

use super::Server;
use crate::{killed, renewed};

fn start(lua: &Sandbox, name: &str, source: &str) -> Run {
    lua.start(source, ComputeOptions::new().durable(name)).unwrap()
}

fn go_on(run: &mut Run, answer: i64) {
    run.answer(run.requests().unwrap()[0].id, answer).unwrap();
    run.resume().unwrap();
}

fn worker(server: &Server) -> Sandbox {
    let lua = server.sandbox();
    lua.declare("ask").unwrap();
    lua
}

#[test]
fn a_run_goes_from_worker_to_worker() {
    let server = Server::start(&[]);
    let (first, second) = (worker(&server), worker(&server));
    let source = "
        local made = {n = 1}
        _home.list = {ask('a')}
        local held = _home.list
        _home.list = nil
        local b = ask('b')
        held[2] = b
        _home.back = held
        return made.n + held[1] + held[2]";
    let mut run = start(&first, "r", source);
    go_on(&mut run, 10);
    let pending = &second.pending_runs().unwrap()[0];
    assert!(pending.claimed.unwrap() > Duration::from_secs(20), "{pending:?}");
    assert_eq!(second.resume("r").unwrap_err().kind(), ErrorKind::Busy);
    drop(run);
    // What only the run holds is reachable for a collection.
    second.gc().unwrap();
    let mut run = second.resume("r").unwrap();
    drop(first);
    collect(&server);
    go_on(&mut run, 20);
    assert_eq!(run.into_result().unwrap().values, [31.into()]);
    let third = worker(&server);
    assert_eq!(third.compute("return _home.back[1], _home.back[2]").unwrap().values, [10.into(), 20.into()]);
    assert!(third.pending_runs().unwrap().is_empty());
}

/// Others make garbage and have it collected.
fn collect(server: &Server) {
    for _ in 0..3 {
        let lua = worker(server);
        lua.compute("for i = 1, 500 do _home.t = {i} end").unwrap();
        lua.gc().unwrap();
    }
}

#[test]
fn who_lost_a_claim_stores_nothing() {
    let server = Server::start(&[]);
    let config = SandboxConfig::new().store(server.open()).claim_term(Duration::from_millis(1));
    let slow = Sandbox::with_config(config).unwrap();
    slow.declare("ask").unwrap();
    let other = worker(&server);
    let mut run = start(&slow, "r", "_home.n = ask('x') local b = ask('y') _home.n = _home.n + b return _home.n");
    while other.pending_runs().unwrap()[0].claimed.is_some() {}
    let mut taken = other.resume("r").unwrap();
    go_on(&mut run, 1);
    assert_eq!(run.into_result().unwrap_err().kind(), ErrorKind::Conflict);
    go_on(&mut taken, 2);
    go_on(&mut taken, 3);
    assert_eq!(taken.into_result().unwrap().values, [5.into()]);
    assert_eq!(slow.compute("return _home.n").unwrap().values, [5.into()]);
}

#[test]
fn two_that_begin_the_same_run() {
    let server = Server::start(&[]);
    let (first, second) = (worker(&server), worker(&server));
    let begun = [first, second].map(|lua| {
        std::thread::spawn(move || {
            let run = start(&lua, "same", "return ask('x')");
            let waits = run.is_waiting();
            if waits {
                // Nobody gives the claim back.
                std::mem::forget(run);
            }
            waits
        })
    });
    let waiting = begun.map(|thread| thread.join().unwrap());
    assert_eq!(waiting.iter().filter(|waits| **waits).count(), 1);
}

#[test]
fn conflicts_repeat_from_the_last_wait() {
    let server = Server::start(&[]);
    let (lua, other) = (worker(&server), worker(&server));
    lua.compute("_home.n = 0").unwrap();
    let mut run = start(&lua, "r", "for i = 1, 20 do local a = ask(i) _home.n = _home.n + a end return _home.n");
    let mut asked = 0;
    while run.is_waiting() {
        asked += 1;
        assert_eq!(run.requests().unwrap()[0].id, asked);
        lua.home().get("n").unwrap();
        other.compute("_home.n = _home.n + 1000").unwrap();
        go_on(&mut run, 1);
    }
    assert_eq!(run.into_result().unwrap().values, [20_020.into()]);
    assert_eq!(asked, 20);
}

#[test]
fn renewed_while_others_write() {
    for test in renewed::TESTS {
        let server = Server::start(&[]);
        test(&|| worker(&server));
    }
}

/// A worker that goes on with what was begun before it, as soon as nobody has claimed it.
fn successor(url: &str) -> Sandbox {
    let config = SandboxConfig::new().store(url).claim_term(Duration::from_millis(1));
    let lua = Sandbox::with_config(config).unwrap();
    while lua.pending_runs().unwrap().iter().any(|run| run.claimed.is_some()) {}
    lua
}

#[test]
fn workers_are_killed_a_hundred_times() {
    let server = Server::start(&[]);
    killed::kill_often(100, || killed::process("server::durable::child", &server.url()));
    killed::check(&successor(&server.url()));
}

/// Not a test: what the killed processes do.
#[test]
fn child() {
    let Ok(url) = std::env::var("LUACELL_PLACE") else { return };
    killed::work(&successor(&url), "run");
}
