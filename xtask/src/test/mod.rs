//! `cargo xtask test`: every test of the repository, part by part, with one table at the end.

mod count;
mod parts;
pub mod tools;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use count::Tally;
use parts::{EXTRA_PARTS, PARTS, Part, Step};

use crate::steps::{cargo, root};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Args {
    /// What to test; when nothing is named everything but the slow parts pulley and static-checks
    #[arg(value_name = "PART", value_parser = part_names())]
    parts: Vec<String>,
}

fn part_names() -> Vec<&'static str> {
    PARTS.iter().chain(EXTRA_PARTS).map(|part| part.name).collect()
}

/// One row of the closing table.
struct Row {
    part: &'static str,
    tally: Tally,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let root = root();
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");

    let mut rows = Vec::new();
    let named = |part: &Part| args.parts.iter().any(|name| name == part.name);
    let wanted = PARTS.iter().filter(|part| args.parts.is_empty() || named(part));
    for part in wanted.chain(EXTRA_PARTS.iter().filter(|part| named(part))) {
        let tally = run_part(part, root, ci).with_context(|| format!("the part {} could not be run", part.name))?;
        rows.push(Row { part: part.name, tally });
    }

    let total = report(&rows);
    if total.failed > 0 {
        // Not an error of this tool: the totals stay the last words.
        std::process::exit(1);
    }
    Ok(())
}

fn run_part(part: &Part, root: &Path, ci: bool) -> Result<Tally> {
    println!("\n== {}: {}", part.name, part.about);

    let missing: Vec<String> = part.needs.iter().filter_map(tools::missing).collect();
    if !missing.is_empty() {
        let reason = missing.join("; ");
        println!("{reason}");
        return Ok(Tally::not_run(reason, ci));
    }

    let mut tally = Tally::default();
    for step in part.steps {
        tally.add(run_step(step, root)?);
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
fn run_step(step: &Step, root: &Path) -> Result<Tally> {
    let mut arguments: Vec<OsString> = step.args.iter().map(OsString::from).collect();
    if let Some((folder, suffix)) = step.files {
        arguments.extend(test_files(root, folder, suffix)?);
    }
    let mut command = match step.program {
        // The one that runs us, also when it is not the first in PATH.
        "cargo" => cargo(),
        other => Command::new(other),
    };
    let caches = step.caches.iter().map(|(name, folder)| (name, root.join("target").join(folder)));
    let mut child = command
        .args(&arguments)
        .current_dir(root.join(step.folder))
        .envs(caches)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", step.program))?;

    let mut tally = Tally::default();
    let mut in_failure = false;
    let output = child.stdout.take().context("no output pipe")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read the runner's output")?;
        let line = String::from_utf8_lossy(&line);
        if step.format.shows(&line, &mut in_failure) {
            // When our reader has gone, the tests still count for the exit status.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
        step.format.read(&line, &mut tally);
    }
    let status = child.wait().context("cannot wait for the runner")?;
    if !status.success() && tally.failed == 0 {
        tally.fail(&format!("{} ended with {status}", step.program));
    }
    Ok(tally)
}

/// The files that end in `suffix`, named one by one: what `node --test FOLDER` means differs between versions.
fn test_files(root: &Path, folder: &str, suffix: &str) -> Result<Vec<OsString>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root.join(folder)).with_context(|| format!("cannot read {folder}"))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(suffix) {
            files.push(path.into_os_string());
        }
    }
    if files.is_empty() {
        bail!("no file in {folder} ends in {suffix}");
    }
    files.sort();
    Ok(files)
}

/// Prints the table and, as the last line, the totals in a form that scripts read.
fn report(rows: &[Row]) -> Tally {
    println!("\n{:<12} {:>6} {:>7} {:>7} {:>8}  notes", "part", "run", "passed", "failed", "skipped");
    let mut total = Tally::default();
    for Row { part, tally } in rows {
        println!(
            "{part:<12} {:>6} {:>7} {:>7} {:>8}  {}",
            tally.passed + tally.failed,
            tally.passed,
            tally.failed,
            tally.skipped,
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
