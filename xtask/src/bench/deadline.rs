//! How soon a deadline ends scripts that try to get away, and how long many take that wait.

use std::ffi::OsStr;

use anyhow::{Context, Result};

use super::table::Row;
use super::{Contestants, output_of};

/// What the runner measures with.
const TIMEOUT: &str = "50 ms";
/// In milliseconds.
const MEDIAN: f64 = 60.0;
const WORST: f64 = 100.0;

/// Many sandboxes that wait at the same time.
pub fn waiting(contestants: &Contestants) -> Result<Row> {
    const SANDBOXES: &str = "1000";
    eprintln!("waiting");
    let text = output_of(&contestants.runner, &[OsStr::new("wait"), OsStr::new(SANDBOXES)])?;
    let time: f64 = text.trim().parse().context("the runner printed no time")?;
    Ok(Row {
        what: format!("{SANDBOXES} sandboxes on one thread, each waits 100 ms for a host function"),
        peer: String::new(),
        ours: format!("{time:.0} ms"),
        ratio: String::new(),
        goal: super::table::at_most(time, 1000.0, "1000 ms"),
    })
}

/// Median and worst over all hostile scripts of `core/tests/hostile`.
pub fn rows(contestants: &Contestants, rounds: usize) -> Result<Vec<Row>> {
    eprintln!("deadline");
    let text = output_of(&contestants.runner, &[OsStr::new("deadline"), OsStr::new(&rounds.to_string())])?;
    let mut times = text.split_whitespace().map(str::parse::<f64>);
    let mut next = || times.next().context("the runner printed too little")?.context("the runner printed no time");
    let row = |what: &str, time: f64, limit: f64| Row {
        what: format!("hostile scripts, ended by a timeout of {TIMEOUT}: {what}"),
        peer: String::new(),
        ours: format!("{time:.1} ms"),
        ratio: String::new(),
        goal: super::table::at_most(time, limit, &format!("{limit} ms")),
    };
    Ok(vec![row("median", next()?, MEDIAN), row("worst", next()?, WORST)])
}
