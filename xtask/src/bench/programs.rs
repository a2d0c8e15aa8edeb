//! The classic programs: interpreter speed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::measure::{Pair, geometric_mean};
use super::micro::pair_row;
use super::table::{Row, at_most};
use super::{Contestants, output_of};

/// One row for each program, and the geometric mean of the ratios.
pub fn rows(contestants: &Contestants, folder: &Path, only: &[String], rounds: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut ratios = Vec::new();
    for file in files(folder, only)? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        eprintln!("{name}");
        let pair = measure(contestants, &file, rounds).with_context(|| format!("program {name}"))?;
        ratios.push(pair.ratio());
        rows.push(pair_row(&name, &pair));
    }
    let mean = geometric_mean(&ratios);
    rows.push(Row {
        ratio: format!("**{mean:.2}**"),
        ..Row::note(&format!("**geometric mean of {} programs**", ratios.len()), &at_most(mean, 1.3, "1.30"))
    });
    Ok(rows)
}

pub fn files(folder: &Path, only: &[String]) -> Result<Vec<PathBuf>> {
    if !only.is_empty() {
        return Ok(only.iter().map(|name| folder.join(format!("{name}.lua"))).collect());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("lua")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Times the program on both sides; every run must give native Lua's first result.
fn measure(contestants: &Contestants, file: &Path, rounds: usize) -> Result<Pair> {
    let (_, expected) = run(&contestants.native, file)?;
    let checked = |program: &Path| {
        let (nanoseconds, result) = run(program, file)?;
        if result != expected {
            bail!("{} gives {result}, expected is {expected}", program.display());
        }
        Ok(nanoseconds)
    };
    Pair::measure(rounds, || checked(&contestants.native), || checked(&contestants.runner))
}

/// One run in a process of its own: nanoseconds and checksum.
pub fn run(program: &Path, file: &Path) -> Result<(f64, String)> {
    timed(program, &[OsStr::new("program"), file.as_os_str()])
}

/// What a program writes that times one Lua file: nanoseconds, a tab, the checksum.
pub fn timed(program: &Path, args: &[&OsStr]) -> Result<(f64, String)> {
    let text = output_of(program, args)?;
    let (nanoseconds, checksum) = text.trim_end().split_once('\t').context("no time and checksum in the output")?;
    let nanoseconds = nanoseconds.parse().with_context(|| format!("{nanoseconds} is no time"))?;
    Ok((nanoseconds, checksum.to_owned()))
}
