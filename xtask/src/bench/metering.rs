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

/// The geometric mean over the programs.
pub fn row(contestants: &Contestants, unmetered: &Path, folder: &Path, rounds: usize) -> Result<Row> {
    let mut ratios = Vec::new();
    for file in files(folder, &[])? {
        eprintln!("metering: {}", file.file_stem().unwrap_or_default().to_string_lossy());
        let time = |program: &Path| run(program, &file).map(|(nanoseconds, _)| nanoseconds);
        ratios.push(Pair::measure(rounds, || time(unmetered), || time(&contestants.runner))?.ratio());
    }
    let mean = geometric_mean(&ratios);
    Ok(Row {
        ratio: format!("{mean:.3}"),
        ..Row::note("metering: the programs with / without it, geometric mean", &at_most(mean, 1.05, "1.05"))
    })
}
