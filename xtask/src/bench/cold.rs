//! From starting a process to its first result.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::Contestants;
use super::measure::Pair;
use super::micro::pair_row;
use super::table::{Row, at_most, time};

/// `luacell eval 'return 1'` beside `true`.
pub fn row(contestants: &Contestants, rounds: usize) -> Result<Row> {
    eprintln!("cold start");
    let pair = Pair::measure(
        rounds,
        || start(Path::new("true"), &[], ""),
        || start(&contestants.cli, &["eval", "return 1"], "1\n"),
    )?;
    let limit = 10e6;
    Ok(Row {
        what: "whole process: `luacell eval 'return 1'` / `true`".to_owned(),
        peer: time(pair.native()),
        ours: time(pair.ours()),
        ratio: format!("+{}", time(pair.difference())),
        goal: at_most(pair.difference(), limit, &format!("+{}", time(limit))),
    })
}

/// `luacell eval 'return 1'` beside the same with a Lua that is installed.
pub fn beside_lua(contestants: &Contestants, lua: &Path, rounds: usize) -> Result<Row> {
    let pair = Pair::measure(
        rounds,
        || start(lua, &["-e", "print(1)"], "1\n"),
        || start(&contestants.cli, &["eval", "return 1"], "1\n"),
    )?;
    Ok(pair_row("whole process: `luacell eval 'return 1'` / `lua5.4 -e 'print(1)'`", &pair))
}

/// Nanoseconds from before the start to after the end of the process.
fn start(program: &Path, args: &[&str], expected: &str) -> Result<f64> {
    let begin = Instant::now();
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let nanoseconds = begin.elapsed().as_nanos() as f64;
    if !output.status.success() || output.stdout != expected.as_bytes() {
        bail!("{} {args:?} did not print {expected:?}", program.display());
    }
    Ok(nanoseconds)
}
