//! How soon a deadline ends scripts that try to get away.

use std::ffi::OsStr;

use anyhow::{Context, Result};

use super::table::Row;
use super::{Contestants, output_of};

/// What the runner measures with.
const TIMEOUT: &str = "50 ms";
/// In milliseconds.
const MEDIAN: f64 = 60.0;
const WORST: f64 = 100.0;

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
