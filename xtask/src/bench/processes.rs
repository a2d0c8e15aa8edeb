//! From starting a process to its end.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::build::Contestants;
use super::measure::Pair;
use super::table::{Row, at_most, time};
use crate::steps::printed;

/// `luacell eval 'return 1'` beside `true`.
pub fn beside_nothing(contestants: &Contestants, rounds: usize) -> Result<Row> {
    let pair = pair(contestants, rounds, "true", &[], "")?;
    let more = pair.difference();
    Ok(Row {
        ratio: format!("+{}", time(more)),
        goal: at_most(more, 10e6, |limit| format!("+{}", time(limit))),
        ..Row::pair("whole process: `luacell eval 'return 1'` / `true`", &pair)
    })
}

/// The same beside a Lua that is installed.
pub fn beside_lua(contestants: &Contestants, lua: &str, rounds: usize) -> Result<Row> {
    let pair = pair(contestants, rounds, lua, &["-e", "print(1)"], "1\n")?;
    Ok(Row::pair(&format!("whole process: `luacell eval 'return 1'` / `{lua} -e 'print(1)'`"), &pair))
}

fn pair(contestants: &Contestants, rounds: usize, peer: &str, arguments: &[&str], expected: &str) -> Result<Pair> {
    eprintln!("cold start beside {peer}");
    Pair::measure(
        rounds,
        || start(Path::new(peer), arguments, expected),
        || start(&contestants.cli, &["eval", "return 1"], "1\n"),
    )
}

/// Nanoseconds from before the start to after the end of the process.
fn start(program: &Path, arguments: &[&str], expected: &str) -> Result<f64> {
    let begin = Instant::now();
    let answer = printed(Command::new(program).args(arguments).stdin(std::process::Stdio::null()))?;
    let nanoseconds = begin.elapsed().as_nanos() as f64;
    ensure!(answer == expected, "{} {arguments:?} did not print {expected:?}", program.display());
    Ok(nanoseconds)
}
