//! Thousands of sandboxes for a while: good and hostile scripts in turn, all limits on, tables in all kinds of stores.
//! Nothing may grow, no write may be lost, and no sandbox may see what is another's: each keeps a secret of its own and
//! shows it when asked.

mod cell;
mod counter;
mod own_store;
mod process;
#[path = "../../../core/tests/promises/scripts/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    clippy::indexing_slicing,
    reason = "what the tests of promises expect of a script is not looked at here"
)]
mod promises;
mod scripts;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use fastrand::Rng;

use cell::{Cell, Home};
use counter::Counter;

/// Runs sandboxes for a while, and fails when anything is lost, mixed up or growing
#[derive(Parser)]
struct Args {
    /// How long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// How many sandboxes, all threads together
    #[arg(long, default_value_t = 2000)]
    sandboxes: usize,
    /// Each has sandboxes of its own
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// Decides what is done, apart from how threads meet
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A Redis server that may be filled: its URL
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

/// What all threads count.
#[derive(Default)]
struct Tally {
    good: AtomicU64,
    hostile: AtomicU64,
    shared: AtomicU64,
    copies: AtomicU64,
    replaced: AtomicU64,
    over: AtomicBool,
    failures: Mutex<Vec<String>>,
}

impl Tally {
    fn fail(&self, what: String) {
        eprintln!("FAILED: {what}");
        if let Ok(mut failures) = self.failures.lock() {
            failures.push(what);
        }
        self.over.store(true, Ordering::Relaxed);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn main() -> Result<()> {
    let args = Args::parse();
    let folder = tempfile::tempdir().context("no folder for files")?;
    let counters = Counter::all(folder.path(), args.server.as_deref())?;
    let tally = Tally::default();
    let mut samples = Vec::new();
    std::thread::scope(|scope| {
        for number in 0..args.threads {
            let (tally, counters, folder) = (&tally, &counters, folder.path().join(format!("thread-{number}")));
            let share = args.sandboxes.div_ceil(args.threads);
            let rng = Rng::with_seed(args.seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
            scope.spawn(move || {
                if let Err(error) = work(number, share, folder, rng, counters, tally) {
                    tally.fail(format!("thread {number}: {error:#}"));
                }
            });
        }
        samples = watch(&tally, Duration::from_secs_f64(args.minutes * 60.0));
    });
    for counter in &counters {
        if let Err(error) = counter.check() {
            tally.fail(format!("{error:#}"));
        }
    }
    report(&tally, &samples)
}

/// Looks at this process from time to time, until it is over: seconds, resident bytes, open files.
fn watch(tally: &Tally, duration: Duration) -> Vec<(f64, f64, usize)> {
    let (start, mut samples) = (Instant::now(), Vec::new());
    println!("{:>6} {:>10} {:>10} {:>9} {:>9} {:>9} {:>6}", "s", "good", "hostile", "shared", "copies", "MB", "files");
    while !tally.over.load(Ordering::Relaxed) {
        std::thread::sleep((duration / 40).min(Duration::from_secs(15)));
        let (bytes, files) = (process::resident(), process::open_files());
        let seconds = start.elapsed().as_secs_f64();
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (good, hostile, shared, copies) =
            (of(&tally.good), of(&tally.hostile), of(&tally.shared), of(&tally.copies));
        println!("{seconds:>6.0} {good:>10} {hostile:>10} {shared:>9} {copies:>9} {:>9.1} {files:>6}", bytes / 1e6);
        samples.push((seconds, bytes, files));
        if start.elapsed() >= duration {
            tally.over.store(true, Ordering::Relaxed);
        }
    }
    samples
}

/// One thread's sandboxes, one after another and in no order.
fn work(number: usize, share: usize, folder: PathBuf, mut rng: Rng, counters: &[Counter], tally: &Tally) -> Result<()> {
    std::fs::create_dir_all(&folder)?;
    // Some in files, some in a store of the host's own, most in memory.
    let home = |at: usize| match at {
        0..6 => Home::File(folder.join(format!("{at}.luacell"))),
        6..40 => Home::Own,
        _ => Home::Memory,
    };
    let secret = |rng: &mut Rng| format!("{number}-{:016x}", rng.u64(..));
    let mut cells = Vec::new();
    for at in 0..share {
        cells.push(Cell::new(home(at), secret(&mut rng)).with_context(|| format!("sandbox {at}"))?);
    }
    let mut own_counters = counters.iter().map(Counter::join).collect::<Result<Vec<_>>>()?;
    while !tally.over.load(Ordering::Relaxed) {
        let at = rng.usize(..share);
        let other = rng.usize(..share);
        let Some(cell) = cells.get_mut(at) else { bail!("there is no sandbox {at}") };
        let what = || format!("sandbox {at}");
        match rng.u32(..1000) {
            0..600 => cell.good(&mut rng).with_context(what).map(|()| add(&tally.good))?,
            600..700 => cell.promise(&mut rng).with_context(what).map(|()| add(&tally.hostile))?,
            700..850 => cell.hostile(&mut rng).with_context(what).map(|()| add(&tally.hostile))?,
            850..880 => cell.interrupted().with_context(what).map(|()| add(&tally.hostile))?,
            880..910 => cell.there_and_back(&mut rng).with_context(what).map(|()| add(&tally.copies))?,
            910..930 => cell.reopen().with_context(what).map(|()| add(&tally.copies))?,
            930..940 => cell.reset().with_context(what)?,
            940..950 => {
                let fork = cell.fork().with_context(what)?;
                add(&tally.copies);
                // A copy takes the place of one that keeps nothing anywhere.
                if let Some(place) = cells.get_mut(other)
                    && other >= 40
                {
                    *place = fork;
                }
            }
            950..960 => {
                let fresh = secret(&mut rng);
                cell.replace(fresh).with_context(what)?;
                add(&tally.replaced);
            }
            _ => {
                let chosen = rng.usize(..own_counters.len());
                if let Some(counter) = own_counters.get_mut(chosen) {
                    counter.count()?;
                    add(&tally.shared);
                }
            }
        }
    }
    // What is in files is there for the next process.
    for cell in &mut cells {
        cell.reopen()?;
        cell.good(&mut rng)?;
    }
    Ok(())
}

/// How much more the last quarter may need than the one before: what the allocator keeps varies by about this much.
const ROOM: f64 = 1.05;

fn report(tally: &Tally, samples: &[(f64, f64, usize)]) -> Result<()> {
    let end = samples.last().map_or(0.0, |(seconds, ..)| *seconds);
    let within = |from: f64, to: f64| {
        let chosen = samples.iter().filter(move |(seconds, ..)| *seconds > from * end && *seconds <= to * end);
        chosen.fold((0.0, 0), |(bytes, files), sample| (f64::max(bytes, sample.1), usize::max(files, sample.2)))
    };
    let ((before, files_before), (after, files_after)) = (within(0.5, 0.75), within(0.75, 1.0));
    let mut failures = tally.failures.lock().map(|failures| failures.clone()).unwrap_or_default();
    if after > before * ROOM {
        failures.push(format!("memory grew from {:.1} to {:.1} MB", before / 1e6, after / 1e6));
    }
    if files_after > files_before {
        failures.push(format!("open files grew from {files_before} to {files_after}"));
    }
    println!(
        "\nmost memory: third quarter {:.1} MB, last quarter {:.1} MB; {} sandboxes replaced",
        before / 1e6,
        after / 1e6,
        tally.replaced.load(Ordering::Relaxed)
    );
    if failures.is_empty() {
        println!("no growth, no lost write, no secret seen elsewhere");
        return Ok(());
    }
    bail!("{}", failures.join("\n"))
}
