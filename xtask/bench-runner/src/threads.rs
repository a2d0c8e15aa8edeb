//! The same work, shared by some threads.

use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use luacell::{Engine, EngineConfig};

use crate::{one_plus_one, sandbox};

/// Runs of a script in all, and sandboxes that are made and used once.
const RUNS: u32 = 16;
const SANDBOXES: u32 = 40_000;

const SCRIPT: &str = "local n = 0 for i = 1, 2e6 do n = n + i % 7 end return n";

/// Nanoseconds of elapsed time for the whole work on so many threads; `None` when the mode is not one of these.
pub fn measure(engine: &Engine, mode: &str, threads: u32) -> Result<Option<f64>> {
    match mode {
        "scripts-on" => on_threads(threads, || {
            let sandbox = sandbox(engine)?;
            for _ in 0..RUNS / threads {
                sandbox.compute(SCRIPT)?;
            }
            Ok(())
        }),
        "sandboxes-on" => on_threads(threads, || used_once(engine, threads)),
        "engines-on" => on_threads(threads, || used_once(&Engine::new(EngineConfig::new())?, threads)),
        _ => return Ok(None),
    }
    .map(Some)
}

fn used_once(engine: &Engine, threads: u32) -> Result<()> {
    for _ in 0..SANDBOXES / threads {
        one_plus_one(&sandbox(engine)?)?;
    }
    Ok(())
}

fn on_threads(threads: u32, work: impl Fn() -> Result<()> + Sync) -> Result<f64> {
    let start = Instant::now();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        for worker in workers {
            worker.join().ok().context("a thread ended with a panic")??;
        }
        anyhow::Ok(())
    })?;
    Ok(start.elapsed().as_nanos() as f64)
}
