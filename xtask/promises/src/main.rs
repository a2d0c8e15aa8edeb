//! Random combinations of ways, attempts, limits and states, for a while: what `core/tests/promises` does in small.

#[path = "../../../core/tests/promises/harness/mod.rs"]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod harness;
#[path = "../../../core/tests/promises/scripts/mod.rs"]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod scripts;

use std::sync::Mutex;

use anyhow::{Result, bail};
use clap::Parser;

use harness::{Selection, watch};

/// Looks for scripts that dodge limits, and prints how to see each again
#[derive(Parser)]
struct Args {
    /// How long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Decides what is done
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// On a hardened engine
    #[arg(long)]
    hardened: bool,
    /// Processes at a time
    #[arg(long, default_value_t = 2)]
    jobs: u64,
}

fn main() -> Result<()> {
    harness::work_if_asked(true);
    let args = Args::parse();
    let seconds = (args.minutes * 60.0).ceil() as u64;
    let printing = Mutex::new(());
    let reports = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..args.jobs)
            .map(|job| {
                let (args, printing) = (&args, &printing);
                scope.spawn(move || {
                    let seed = args.seed.wrapping_mul(1_000).wrapping_add(job);
                    watch(&Selection::Random { seed, seconds }, args.hardened, |finding| {
                        let _printing = printing.lock();
                        println!("{finding}");
                    })
                })
            })
            .collect();
        workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let (mut cases, mut findings) = (0, 0);
    let mut worst: [(f64, String); 2] = Default::default();
    for report in reports {
        let Ok(report) = report else { bail!("a thread panicked") };
        let report = report?;
        cases += report.cases;
        findings += report.findings.len();
        for (worst, mine) in worst.iter_mut().zip([report.worst_time, report.worst_memory]) {
            if mine.0 > worst.0 {
                *worst = mine;
            }
        }
    }
    let [time, memory] = worst;
    println!("{cases} cases; {findings} of them break a promise");
    println!("longest: {:.0} % of what it may take, {}", time.0 * 100.0, time.1);
    println!("largest: {:.0} % of what it may take, {}", memory.0 * 100.0, memory.1);
    if findings > 0 {
        bail!("{findings} findings");
    }
    Ok(())
}
