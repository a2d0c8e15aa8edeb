//! Runs that wait.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use luacell::{ComputeOptions, Durability, Engine, EngineConfig, FileStore, Run, Sandbox, SandboxConfig, Snapshot};

/// Nanoseconds of wall time, or bytes; `None` when the mode is not one of these.
pub fn measure(engine: &Engine, mode: &str, count: u32) -> Result<Option<f64>> {
    Ok(Some(match mode {
        "wait-async" => asynchronous(engine, count)?,
        "start-answer" => started(engine, count, true)?,
        "start-plain" => started(engine, count, false)?,
        "wait-all" => all(count)?.0,
        "wait-memory" => all(count)?.1,
        "wait-each" => each_of_a_list(engine, count)?,
        "wait-durable" => durable(engine, count)?,
        "waiting-snapshot" | "waiting-resume" | "waiting-bytes" => snapshot(engine, mode, count)?,
        _ => return Ok(None),
    }))
}

/// A future that is ready when it is polled for the second time.
struct NextPoll(bool);

impl Future for NextPoll {
    type Output = luacell::Result<i64>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(Ok(1));
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

/// One wait of many in a run.
fn asynchronous(engine: &Engine, count: u32) -> Result<f64> {
    let sandbox = engine.sandbox(SandboxConfig::new())?;
    sandbox.register_async("fetch", |()| NextPoll(false))?;
    let run = |n: u32| {
        let options = ComputeOptions::new().args(i64::from(n)).timeout(None);
        pollster::block_on(sandbox.compute_async("local fetch = fetch for i = 1, ... do fetch() end", options))
    };
    run(count / 10)?;
    let start = Instant::now();
    run(count)?;
    Ok(start.elapsed().as_nanos() as f64 / f64::from(count))
}

/// A run with one call, which its starter answers, or a plain host function.
fn started(engine: &Engine, count: u32, waits: bool) -> Result<f64> {
    const SOURCE: &str = "return ask(1)";
    let sandbox = engine.sandbox(SandboxConfig::new())?;
    if !waits {
        sandbox.register("ask", |n: i64| Ok(n))?;
        return mean(count, || sandbox.compute(SOURCE).map(drop).map_err(Into::into));
    }
    sandbox.declare("ask")?;
    mean(count, || {
        let mut run = sandbox.start(SOURCE, ComputeOptions::new())?;
        answer_all(&mut run)?;
        run.into_result().map(drop).map_err(Into::into)
    })
}

fn answer_all(run: &mut Run) -> Result<()> {
    for request in run.requests()? {
        run.answer(request.id, 1)?;
    }
    Ok(run.resume()?)
}

/// So many runs on one thread that wait at the same time, for 100 ms: nanoseconds in all, and the bytes that each takes
/// beyond an idle sandbox while it waits.
fn all(count: u32) -> Result<(f64, f64)> {
    let engine = Engine::new(EngineConfig::new().pool_size(count))?;
    let sandboxes = (0..count)
        .map(|_| {
            let sandbox = engine.sandbox(SandboxConfig::new())?;
            sandbox.declare("ask")?;
            sandbox.compute("return 1+1")?;
            Ok(sandbox)
        })
        .collect::<Result<Vec<Sandbox>>>()?;
    let before = crate::memory::resident()?;
    let start = Instant::now();
    let mut runs = sandboxes
        .iter()
        .map(|sandbox| Ok(sandbox.start("return ask(1)", ComputeOptions::new())?))
        .collect::<Result<Vec<_>>>()?;
    let grown = crate::memory::resident()? - before;
    std::thread::sleep(Duration::from_millis(100).saturating_sub(start.elapsed()));
    for run in &mut runs {
        ensure!(run.is_waiting(), "it does not wait");
        answer_all(run)?;
        ensure!(!run.is_waiting(), "it waits again");
    }
    Ok((start.elapsed().as_nanos() as f64, grown / f64::from(count)))
}

/// So many calls of 20 ms from one script, 20 at a time.
fn each_of_a_list(engine: &Engine, count: u32) -> Result<f64> {
    let sandbox = engine.sandbox(SandboxConfig::new())?;
    sandbox.register_async("fetch", |n: i64| async move {
        futures_timer::Delay::new(Duration::from_millis(20)).await;
        Ok(n)
    })?;
    let source = "
        local list = {}
        for i = 1, ... do list[i] = i end
        return #require('task').each(list, fetch, {limit = 20})";
    let start = Instant::now();
    let options = ComputeOptions::new().args(i64::from(count));
    let outcome = pollster::block_on(sandbox.compute_async(source, options))?;
    ensure!(outcome.get::<i64>()? == i64::from(count), "some are missing");
    Ok(start.elapsed().as_nanos() as f64)
}

/// Each wait of a durable run on a file that is synced later.
fn durable(engine: &Engine, count: u32) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let store = FileStore::options().durability(Durability::Relaxed).open(folder.path().join("bench"))?;
    let sandbox = engine.sandbox(SandboxConfig::new().store(store))?;
    sandbox.declare("ask")?;
    let options = ComputeOptions::new().args(i64::from(count)).timeout(None).durable("run");
    let mut run = sandbox.start("for i = 1, ... do local a = ask(i) _home.n = a end", options)?;
    let start = Instant::now();
    while run.is_waiting() {
        answer_all(&mut run)?;
    }
    Ok(start.elapsed().as_nanos() as f64 / f64::from(count))
}

/// A run that waits is copied, or taken up from a copy; or how many bytes it has more than a sandbox that is idle.
fn snapshot(engine: &Engine, mode: &str, count: u32) -> Result<f64> {
    let sandbox = engine.sandbox(SandboxConfig::new())?;
    sandbox.declare("ask")?;
    sandbox.compute("return 1+1")?;
    let idle = sandbox.snapshot()?.to_bytes()?.len();
    let run = sandbox.start("local a = ask(1) return a", ComputeOptions::new())?;
    let snapshot = sandbox.snapshot()?;
    let bytes = snapshot.to_bytes()?;
    match mode {
        "waiting-bytes" => return Ok(bytes.len() as f64 - idle as f64),
        "waiting-snapshot" => return mean(count, || sandbox.snapshot().map(drop).map_err(Into::into)),
        _ => drop(run),
    }
    let snapshot = Snapshot::from_bytes(engine, &bytes)?;
    let other = engine.sandbox(SandboxConfig::new())?;
    other.declare("ask")?;
    mean(count, || {
        other.restore(&snapshot)?;
        let Some(mut run) = other.waiting_run()? else { anyhow::bail!("it does not wait") };
        answer_all(&mut run)?;
        run.into_result().map(drop).map_err(Into::into)
    })
}

/// Mean wall time, after a tenth as many that do not count.
fn mean(count: u32, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    for _ in 0..count / 10 {
        call()?;
    }
    let start = Instant::now();
    for _ in 0..count {
        call()?;
    }
    Ok(start.elapsed().as_nanos() as f64 / f64::from(count))
}
