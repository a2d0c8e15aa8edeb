//! `cargo xtask test`: every test of the repository, part by part, with one table at the end.

mod count;
mod parts;
pub mod tools;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use count::Tally;
use parts::{EXTRA_PARTS, PARTS, Part, Step};

use crate::steps::{cargo, files, root};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Args {
    /// What to test; when nothing is named everything but the slow parts pulley and static-checks
    #[arg(value_name = "PART", value_parser = part_names())]
    parts: Vec<String>,
}

fn part_names() -> Vec<&'static str> {
    PARTS.into_iter().flatten().chain(EXTRA_PARTS).map(|part| part.name).collect()
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");

    let named = |part: &&Part| args.parts.iter().any(|name| name == part.name);
    let [mut first, second] =
        PARTS.map(|list| list.iter().filter(|part| args.parts.is_empty() || named(part)).collect::<Vec<_>>());
    first.extend(EXTRA_PARTS.iter().filter(named));

    let alone = first.is_empty() || second.is_empty();
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| run_list(&second, ci, alone));
        (run_list(&first, ci, alone), second.join())
    });
    let mut rows = first?;
    rows.extend(second.map_err(|_| anyhow!("a thread of this program panicked"))??);

    let total = report(&rows);
    if total.failed > 0 {
        // Not an error of this tool: the totals stay the last words.
        std::process::exit(1);
    }
    Ok(())
}

/// A part, what became of it, and how long it took.
type Row = (&'static str, Tally, Duration);

/// Runs one part after another. What they print has the part's name in front unless the list is `alone`.
fn run_list(parts: &[&'static Part], ci: bool, alone: bool) -> Result<Vec<Row>> {
    let run = |part: &&'static Part| {
        let begun = Instant::now();
        let prefix = if alone { String::new() } else { format!("{:<12} | ", part.name) };
        let tally = run_part(part, ci, &prefix).with_context(|| format!("the part {} could not be run", part.name))?;
        Ok((part.name, tally, begun.elapsed()))
    };
    parts.iter().map(run).collect()
}

fn run_part(part: &Part, ci: bool, prefix: &str) -> Result<Tally> {
    println!("\n== {}: {}", part.name, part.about);

    let missing: Vec<String> = part.needs.iter().filter_map(tools::missing).collect();
    if !missing.is_empty() {
        let reason = missing.join("; ");
        println!("{reason}");
        return Ok(Tally::not_run(reason, ci));
    }

    let mut tally = Tally::default();
    for step in part.steps {
        tally.add(run_step(step, prefix)?);
    }
    if tally.passed + tally.failed == 0 {
        // A part whose tests have vanished must not look like success.
        tally.fail("no test ran");
    }
    if ci && tally.skipped > 0 {
        tally.fail("tests were skipped, which is not allowed when CI=true");
    }
    Ok(tally)
}

/// Runs one test runner, shows what it prints and counts its results.
fn run_step(step: &Step, prefix: &str) -> Result<Tally> {
    let mut words = step.command.iter().flat_map(|words| words.split_whitespace());
    let program = words.next().context("a step without a program")?;
    let mut command = match program {
        // The one that runs us, also when it is not the first in PATH.
        "cargo" => cargo(&[]),
        "xtask" => Command::new(std::env::current_exe().context("cannot find this program")?),
        other => Command::new(other),
    };
    for word in words {
        match word.split_once("/*") {
            None => drop(command.arg(word)),
            Some((folder, suffix)) => {
                let files = files(&root().join(folder), suffix)?;
                ensure!(!files.is_empty(), "there is no {word}");
                command.args(files);
            }
        }
    }
    let caches = step.caches.iter().map(|(name, folder)| (name, root().join("target").join(folder)));
    command.current_dir(root().join(step.folder)).envs(caches).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;

    let mut tally = Tally::default();
    let mut in_failure = false;
    let output = child.stdout.take().context("no output pipe")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read the runner's output")?;
        let line = String::from_utf8_lossy(&line);
        if step.format.shows(&line, &mut in_failure) {
            // When our reader has gone, the tests still count for the exit status.
            let _ = writeln!(std::io::stdout(), "{prefix}{line}");
        }
        step.format.read(&line, &mut tally);
    }
    let status = child.wait().context("cannot wait for the runner")?;
    if !status.success() && tally.failed == 0 {
        tally.fail(&format!("{program} ended with {status}"));
    }
    Ok(tally)
}

/// Prints the table and, as the last line, the totals in a form that scripts read.
fn report(rows: &[Row]) -> Tally {
    println!("\n{:<12} {:>6} {:>7} {:>7} {:>8} {:>8}  notes", "part", "run", "passed", "failed", "skipped", "seconds");
    let mut total = Tally::default();
    for (part, tally, took) in rows {
        println!(
            "{part:<12} {:>6} {:>7} {:>7} {:>8} {:>8}  {}",
            tally.passed + tally.failed,
            tally.passed,
            tally.failed,
            tally.skipped,
            took.as_secs(),
            tally.notes.join("; ")
        );
        total.add(tally.clone());
    }
    print!("\n{} passed, {} failed", total.passed, total.failed);
    if total.skipped > 0 {
        print!(", {} skipped", total.skipped);
    }
    println!();
    total
}
