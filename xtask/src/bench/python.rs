//! The Python package beside lupa: `py/bench.py` measures, in one process.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::table::{Row, time};
use super::{FEATURES, Features};
use crate::steps::printed;

/// Builds the package, and measures.
pub fn rows(root: &Path, quick: bool, features: Features) -> Result<Vec<Row>> {
    eprintln!("Python");
    let develop = root.join("py").join("tools").join("develop.py");
    let mut arguments: Vec<&OsStr> = vec![develop.as_os_str(), "python".as_ref(), "bench.py".as_ref()];
    if quick {
        arguments.push("--quick".as_ref());
    }
    let mut rows = vec![Row::heading("Python / lupa 2.8 with its Lua 5.4")];
    let mut bench = Command::new("python3");
    bench.args(arguments).envs(features.map(|feature| (FEATURES, feature)));
    for line in printed(&mut bench)?.lines() {
        rows.push(row(line)?);
    }
    Ok(rows)
}

/// A line of `bench.py`: what, lupa's nanoseconds, ours, the ratio, the goal.
fn row(line: &str) -> Result<Row> {
    let cells: Vec<&str> = line.split('\t').collect();
    let [what, peer, ours, ratio, goal] = cells.as_slice() else {
        anyhow::bail!("bench.py wrote a line that is none of its table: {line}");
    };
    let nanoseconds = |text: &str| text.parse::<f64>().with_context(|| format!("no number: {text}"));
    Ok(Row {
        what: (*what).to_owned(),
        peer: time(nanoseconds(peer)?),
        ours: time(nanoseconds(ours)?),
        ratio: (*ratio).to_owned(),
        goal: (*goal).to_owned(),
    })
}
