//! The classic programs in `xtask/programs`: interpreter speed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::build::Contestants;
use super::measure::{Pair, geometric_mean};
use super::table::{Row, at_most, ratio};
use crate::steps::{files, printed, root, stem};

/// What runs a Lua file in a process of its own, and prints nanoseconds, a tab, the checksum.
pub struct Runner {
    pub program: PathBuf,
    /// Before the file's name.
    pub arguments: Vec<OsString>,
}

impl Runner {
    /// One of the benchmark's own programs.
    pub fn new(program: &Path) -> Self {
        Self { program: program.to_owned(), arguments: vec!["program".into()] }
    }

    fn run(&self, file: &Path) -> Result<(f64, String)> {
        let text = printed(Command::new(&self.program).args(&self.arguments).arg(file))?;
        let (nanoseconds, checksum) = text.trim_end().split_once('\t').context("no time and checksum in the output")?;
        let nanoseconds = nanoseconds.parse().with_context(|| format!("{nanoseconds} is no time"))?;
        Ok((nanoseconds, checksum.to_owned()))
    }
}

/// A Lua that is installed.
pub fn installed_lua(program: &str) -> Runner {
    Runner { program: program.into(), arguments: vec![root().join("xtask/bench-peers/timed.lua").into()] }
}

/// The files of these names, or all.
pub fn programs(only: &[String]) -> Result<Vec<PathBuf>> {
    let folder = root().join("xtask/programs");
    if only.is_empty() {
        return files(&folder, ".lua");
    }
    Ok(only.iter().map(|name| folder.join(format!("{name}.lua"))).collect())
}

/// Times a program on both sides; every run must give the peer's first result.
pub fn compare(peer: &Runner, ours: &Runner, file: &Path, rounds: usize) -> Result<Pair> {
    let (_, expected) = peer.run(file)?;
    let time = |runner: &Runner| {
        let (nanoseconds, result) = runner.run(file)?;
        ensure!(result == expected, "{} gives {result}, expected is {expected}", runner.program.display());
        Ok(nanoseconds)
    };
    Pair::measure(rounds, || time(peer), || time(ours)).with_context(|| format!("program {}", stem(file)))
}

fn compare_all(peer: &Runner, ours: &Path, only: &[String], rounds: usize) -> Result<Vec<(String, Pair)>> {
    let pair = |file: PathBuf| {
        let pair = compare(peer, &Runner::new(ours), &file, rounds)?;
        eprintln!("{}: {} {:.3}", peer.program.display(), stem(&file), pair.ratio());
        Ok((stem(&file), pair))
    };
    programs(only)?.into_iter().map(pair).collect()
}

fn mean_of(pairs: &[(String, Pair)]) -> f64 {
    geometric_mean(&pairs.iter().map(|(_, pair)| pair.ratio()).collect::<Vec<_>>())
}

fn mean_row(pairs: &[(String, Pair)], limit: Option<f64>) -> Row {
    let mean = mean_of(pairs);
    let goal = limit.map(|limit| at_most(mean, limit, ratio)).unwrap_or_default();
    let what = format!("**geometric mean of {} programs**", pairs.len());
    Row { ratio: format!("**{mean:.2}**"), ..Row::note(&what, &goal) }
}

/// One row for each program beside native Lua, and the geometric mean of the ratios.
pub fn rows(contestants: &Contestants, only: &[String], rounds: usize) -> Result<Vec<Row>> {
    let pairs = compare_all(&Runner::new(&contestants.native), &contestants.runner, only, rounds)?;
    let rows = pairs.iter().map(|(name, pair)| Row::pair(name, pair));
    Ok(rows.chain([mean_row(&pairs, Some(1.3))]).collect())
}

/// The geometric mean beside another peer.
pub fn mean(peer: &Runner, contestants: &Contestants, rounds: usize, limit: Option<f64>) -> Result<Row> {
    Ok(mean_row(&compare_all(peer, &contestants.runner, &[], rounds)?, limit))
}

/// The module `json` beside lua-cjson.
pub fn json(peer: &Runner, contestants: &Contestants, rounds: usize) -> Result<Vec<Row>> {
    let row = |name: &str, what: &str| -> Result<Row> {
        let file = root().join("xtask/bench-peers").join(name);
        let pair = compare(peer, &Runner::new(&contestants.runner), &file, rounds)?;
        Ok(Row { goal: at_most(pair.ratio(), 2.0, ratio), ..Row::pair(what, &pair) })
    };
    Ok(vec![
        row("json-decode.lua", "20 times 1 MB of JSON into tables, `json` / lua-cjson")?,
        row("json-encode.lua", "the tables into JSON")?,
    ])
}

/// What counting instructions costs: the geometric mean over the programs, and the one that pays most.
pub fn metering(contestants: &Contestants, unmetered: &Path, rounds: usize) -> Result<Vec<Row>> {
    let pairs = compare_all(&Runner::new(unmetered), &contestants.runner, &[], rounds)?;
    let most = pairs.iter().max_by(|(_, a), (_, b)| a.ratio().total_cmp(&b.ratio()));
    let (name, worst) = most.map(|(name, pair)| (name, pair.ratio())).context("there are no programs")?;
    let row = |what: &str, value: f64, limit: f64| Row {
        ratio: format!("{value:.3}"),
        ..Row::note(&format!("metering: {what}"), &at_most(value, limit, ratio))
    };
    Ok(vec![
        row("the programs with / without it, geometric mean", mean_of(&pairs), 1.05),
        row(&format!("the program that pays most, {name}"), worst, 1.08),
    ])
}
