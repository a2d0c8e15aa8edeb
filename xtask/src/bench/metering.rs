//! What counting instructions costs: the same guest with and without.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Contestants;
use super::measure::{Pair, geometric_mean};
use super::programs::{files, run};
use super::table::{Row, at_most};

/// Builds a runner around a guest that counts nothing.
pub fn build(root: &Path, target: &Path) -> Result<PathBuf> {
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder).context("making a folder for the benchmark")?;
    let guest = folder.join("unmetered.wasm");
    crate::guest::write_unmetered(&guest)?;
    super::build(root, Some(&guest), None)?;
    let name = format!("bench-runner{}", std::env::consts::EXE_SUFFIX);
    let runner = folder.join(format!("unmetered-{name}"));
    std::fs::copy(target.join("release").join(&name), &runner).context("keeping the runner without metering")?;
    Ok(runner)
}

/// The geometric mean over the programs, and the one that pays most.
pub fn rows(contestants: &Contestants, unmetered: &Path, folder: &Path, rounds: usize) -> Result<Vec<Row>> {
    let mut ratios = Vec::new();
    let mut worst = (0.0, String::new());
    for file in files(folder, &[])? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let time = |program: &Path| run(program, &file).map(|(nanoseconds, _)| nanoseconds);
        let ratio = Pair::measure(rounds, || time(unmetered), || time(&contestants.runner))?.ratio();
        eprintln!("metering: {name} {ratio:.3}");
        if ratio > worst.0 {
            worst = (ratio, name.into_owned());
        }
        ratios.push(ratio);
    }
    let row = |what: &str, ratio: f64, limit: f64, shown: &str| Row {
        ratio: format!("{ratio:.3}"),
        ..Row::note(what, &at_most(ratio, limit, shown))
    };
    Ok(vec![
        row("metering: the programs with / without it, geometric mean", geometric_mean(&ratios), 1.05, "1.05"),
        row(&format!("metering: the program that pays most, {}", worst.1), worst.0, 1.08, "1.08"),
    ])
}
