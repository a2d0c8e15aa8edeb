//! The luacell side of `cargo xtask bench`; the native side is `xtask/src/bench/native.c`.
//!
//! ```text
//! bench-runner program FILE   runs the chunk once; prints nanoseconds, a tab and the result
//! bench-runner create COUNT   a new sandbox, dropped; prints nanoseconds for each
//! bench-runner first COUNT    the same with "return 1+1" run before the drop
//! bench-runner compute COUNT  "return 1+1" in one sandbox
//! bench-runner store-durable|store-relaxed COUNT   commits of one write to a file store; prints nanoseconds for each
//! bench-runner redb-durable|redb-relaxed COUNT     the same writes with redb alone
//! bench-runner store-open|redb-open COUNT          opening a file with so many entries, and reading one
//! ```

mod state;

use std::hint::black_box;

use anyhow::{Context, Result, bail, ensure};
use luacell::{ComputeOptions, Engine, EngineConfig, Sandbox, SandboxConfig, Value};

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
    if let Some(nanoseconds) = state::measure(&engine, mode, count)? {
        println!("{nanoseconds:.2}");
        return Ok(());
    }
    let nanoseconds = match mode.as_str() {
        "create" => each(count, || {
            black_box(sandbox(&engine)?);
            Ok(())
        }),
        "first" => each(count, || one_plus_one(&sandbox(&engine)?)),
        "compute" => {
            let sandbox = sandbox(&engine)?;
            each(count, || one_plus_one(&sandbox))
        }
        _ => bail!("{mode} is not known"),
    }?;
    println!("{nanoseconds:.2}");
    Ok(())
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
