//! The luacell side of `cargo xtask bench`; the native side is `xtask/bench-peers/native.c`.
//!
//! ```text
//! bench-runner program FILE   runs the chunk once; prints nanoseconds, a tab and the result
//! bench-runner create COUNT   a new sandbox, dropped; prints nanoseconds for each
//! bench-runner first COUNT    the same with "return 1+1" run before the drop
//! bench-runner engine COUNT   a new engine and a sandbox with "return 1+1", dropped
//! bench-runner compute COUNT  "return 1+1" in one sandbox
//! bench-runner hostcall COUNT a host function with two integers and one result, called in a Lua loop
//! bench-runner call|call-handle COUNT   a Lua function with two integers and one result, called by name, or as a value
//! bench-runner method COUNT   a method of a host object with two integers and one result, called in a Lua loop
//! bench-runner records-in|records-out COUNT   1,000 records of three fields as argument or result; prints nanoseconds for all of them
//! bench-runner api-get|api-set COUNT   a field of _home, read or written by the host
//! bench-runner scripts-on|sandboxes-on|engines-on THREADS   the same scripts, or sandboxes used once, also of an engine each, shared by so many threads;
//!                       prints nanoseconds in all
//! bench-runner deadline COUNT each hostile script so many times with a timeout of 50 ms; prints median and worst nanoseconds
//! bench-runner wait COUNT     so many sandboxes on one thread, each waits 100 ms in a host function; prints nanoseconds in all
//! bench-runner idle|fresh COUNT   so many sandboxes at once, with or without one run of "return 1+1"; prints bytes of resident memory for each
//! bench-runner store-durable|store-relaxed COUNT   commits of one write to a file store; prints nanoseconds for each
//! bench-runner redb-durable|redb-relaxed COUNT     the same writes with redb alone
//! bench-runner snapshot|restore|fork COUNT         a sandbox that has run one line; prints nanoseconds
//! bench-runner snapshot-bytes COUNT                prints how many bytes its snapshot is
//! bench-runner table-get|table-set|table-pairs COUNT   rounds of operations on a kept table in memory; prints nanoseconds for each
//! bench-runner wait-async COUNT       waits for a future that is ready at the next poll; prints nanoseconds for each
//! bench-runner start-answer|start-plain COUNT   a run with one call that its starter answers, or that a plain host function answers
//! bench-runner wait-all|wait-memory COUNT   so many runs that wait at the same time, 100 ms; prints nanoseconds in all, or the bytes that each takes beyond an idle sandbox
//! bench-runner wait-each COUNT        so many calls of 20 ms from one script, 20 at a time; prints nanoseconds in all
//! bench-runner wait-durable COUNT     waits of a durable run on a file that is synced later
//! bench-runner waiting-snapshot|waiting-resume|waiting-bytes COUNT   a run that waits: copying it, going on from the copy, bytes beyond an idle sandbox
//! bench-runner store-open|redb-open COUNT          opening a file with so many entries, and reading one
//! ```

#[path = "../../../core/tests/hostile/mod.rs"]
mod hostile;
mod memory;
mod state;
mod threads;
mod values;
mod waiting;

use std::hint::black_box;

use anyhow::{Context, Result, bail, ensure};
use luacell::{Class, ComputeOptions, Engine, EngineConfig, Sandbox, SandboxConfig, Value};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mode, argument] = args.as_slice() else {
        bail!("usage: bench-runner program FILE | bench-runner MODE COUNT");
    };
    let engine = Engine::new(EngineConfig::default())?;
    if mode == "program" {
        return program(&engine, argument);
    }
    let count: u32 = argument.parse().with_context(|| format!("{argument} is no count"))?;
    ensure!(count > 0, "a count of 0 measures nothing");
    if mode == "deadline" {
        let (median, worst) = deadline(&engine, count)?;
        println!("{median:.0}\t{worst:.0}");
        return Ok(());
    }
    if mode == "wait" {
        println!("{:.0}", wait(count)?);
        return Ok(());
    }
    if mode == "idle" || mode == "fresh" {
        println!("{:.0}", memory::of_each(count, mode == "idle")?);
        return Ok(());
    }
    if let Some(nanoseconds) = state::measure(&engine, mode, count)? {
        println!("{nanoseconds:.2}");
        return Ok(());
    }
    for measure in [values::measure, threads::measure, waiting::measure] {
        if let Some(nanoseconds) = measure(&engine, mode, count)? {
            println!("{nanoseconds:.2}");
            return Ok(());
        }
    }
    let nanoseconds = match mode.as_str() {
        "create" => each(count, || {
            black_box(sandbox(&engine)?);
            Ok(())
        }),
        "engine" => each(count, || one_plus_one(&sandbox(&Engine::new(EngineConfig::default())?)?)),
        "first" => each(count, || one_plus_one(&sandbox(&engine)?)),
        "compute" => {
            let sandbox = sandbox(&engine)?;
            each(count, || one_plus_one(&sandbox))
        }
        "hostcall" => {
            let sandbox = sandbox(&engine)?;
            sandbox.register("add", |(a, b): (i64, i64)| Ok(a + b))?;
            looped(&sandbox, "local add, n = add, ... for i = 1, n do add(i, 2) end", count, &[])
        }
        "method" => {
            struct Adder;
            let class = Class::builder("Adder").method("add", |_: &Adder, (a, b): (i64, i64)| Ok(a + b)).build();
            let source = "local n, object = ... for i = 1, n do object:add(i, 2) end";
            looped(&sandbox(&engine)?, source, count, &[class.object(Adder).into()])
        }
        _ => bail!("{mode} is not known"),
    }?;
    println!("{nanoseconds:.2}");
    Ok(())
}

/// Nanoseconds for each round of a loop in Lua, which gets the count and then these values.
fn looped(sandbox: &Sandbox, source: &str, count: u32, values: &[Value]) -> Result<f64> {
    let args: Vec<Value> = std::iter::once(Value::from(i64::from(count))).chain(values.iter().cloned()).collect();
    sandbox.compute_with(source, ComputeOptions::new().args(args.clone()))?;
    let start = now();
    sandbox.compute_with(source, ComputeOptions::new().args(args))?;
    Ok((now() - start) / f64::from(count))
}

/// How long hostile scripts run with a timeout of 50 ms: median and worst, in nanoseconds.
fn deadline(engine: &Engine, count: u32) -> Result<(f64, f64)> {
    let sandbox = engine.sandbox(SandboxConfig::new().memory_limit(64 << 20))?;
    let mut times = Vec::new();
    for _ in 0..count {
        for (name, source) in hostile::HOSTILE {
            let options = ComputeOptions::new().timeout(std::time::Duration::from_millis(50));
            let start = std::time::Instant::now();
            let Err(error) = sandbox.compute_with(source, options) else {
                bail!("'{name}' came to an end");
            };
            let time = start.elapsed().as_nanos() as f64;
            ensure!(error.kind() == luacell::ErrorKind::Timeout, "'{name}' ended with {error}");
            if time > 60e6 {
                eprintln!("{name}: {:.1} ms", time / 1e6);
            }
            times.push(time);
            one_plus_one(&sandbox)?;
        }
    }
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok((median, times.last().copied().unwrap_or_default()))
}

/// How long so many sandboxes take that each wait 100 ms for a host function, on this one thread, in nanoseconds.
fn wait(count: u32) -> Result<f64> {
    let engine = Engine::new(EngineConfig::new().pool_size(count))?;
    let sandboxes = (0..count)
        .map(|_| {
            let sandbox = sandbox(&engine)?;
            sandbox.register_async("fetch", |n: i64| async move {
                futures_timer::Delay::new(std::time::Duration::from_millis(100)).await;
                Ok(n + 1)
            })?;
            Ok(sandbox)
        })
        .collect::<Result<Vec<_>>>()?;
    let start = std::time::Instant::now();
    let runs = sandboxes.iter().map(|sandbox| sandbox.compute_async("return fetch(1)", ComputeOptions::new()));
    for outcome in pollster::block_on(futures_util::future::join_all(runs)) {
        ensure!(outcome?.value() == &Value::Integer(2), "a wrong answer");
    }
    Ok(start.elapsed().as_nanos() as f64)
}

fn sandbox(engine: &Engine) -> Result<Sandbox> {
    Ok(engine.sandbox(SandboxConfig::new())?)
}

fn one_plus_one(sandbox: &Sandbox) -> Result<()> {
    let outcome = sandbox.compute("return 1+1")?;
    ensure!(outcome.value() == &Value::Integer(2), "1+1 is not 2");
    Ok(())
}

/// Mean nanoseconds of one call, after a tenth as many that do not count.
fn each(count: u32, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    for _ in 0..count / 10 {
        call()?;
    }
    let start = now();
    for _ in 0..count {
        call()?;
    }
    Ok((now() - start) / f64::from(count))
}

/// Processor time of this thread in nanoseconds, as in `native.c`.
#[cfg(unix)]
fn now() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

#[cfg(not(unix))]
fn now() -> f64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed().as_nanos() as f64
}

fn program(engine: &Engine, file: &str) -> Result<()> {
    let source = std::fs::read(file).with_context(|| format!("cannot read {file}"))?;
    let sandbox = sandbox(engine)?;
    let start = now();
    let outcome = sandbox.compute_with(&source, ComputeOptions::new().name("=program"))?;
    let nanoseconds = now() - start;
    let checksum = match outcome.value() {
        Value::Integer(number) => number.to_string(),
        Value::String(text) => text.to_string(),
        other => bail!("the checksum must be an integer or a string, not {other:?}"),
    };
    println!("{nanoseconds:.0}\t{checksum}");
    Ok(())
}
