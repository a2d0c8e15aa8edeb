//! The Node.js package beside wasmoon: `node/bench.mjs` measures, this builds.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::table::Row;
use super::{FEATURES, Features};
use crate::steps::finish;

/// Builds the package, and measures.
pub fn rows(root: &Path, quick: bool, features: Features) -> Result<Vec<Row>> {
    eprintln!("Node.js");
    let folder = build(root, features)?;
    let mut bench = Command::new("node");
    bench.arg("bench.mjs").current_dir(&folder);
    if quick {
        bench.arg("--quick");
    }
    let output = bench.stderr(Stdio::inherit()).output().context("cannot start node")?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// Builds the package; its folder.
pub fn build(root: &Path, features: Features) -> Result<PathBuf> {
    let folder = root.join("node");
    finish(Command::new("node").arg("tools/install.mjs").current_dir(&folder))?;
    let features = features.map(|feature| (FEATURES, feature));
    finish(Command::new("npm").args(["run", "build"]).envs(features).current_dir(&folder))?;
    Ok(folder)
}

/// The Markdown table of `bench.mjs` as rows; its head becomes a heading.
pub fn parse(table: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for line in table.lines().filter(|line| !line.starts_with("|---")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [what, peer, ours, ratio, goal] = cells.as_slice() else {
            bail!("the Node.js benchmark wrote a line that is none of its table: {line}");
        };
        rows.push(if rows.is_empty() {
            Row::heading(&format!("{ours} / {peer}"))
        } else {
            Row {
                what: (*what).to_owned(),
                peer: (*peer).to_owned(),
                ours: (*ours).to_owned(),
                ratio: (*ratio).to_owned(),
                goal: (*goal).to_owned(),
            }
        });
    }
    if rows.is_empty() {
        bail!("the Node.js benchmark gave no table");
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_markdown_table_becomes_rows() -> Result<()> {
        let rows =
            parse("| what | wasmoon | luacell | ratio | goal |\n|---|--:|--:|--:|---|\n| `a` | 2 | 1 | 0.5 |  |\n")?;
        let texts: Vec<_> = rows.iter().map(|row| (row.what.as_str(), row.ratio.as_str())).collect();
        assert_eq!(texts, [("**luacell / wasmoon**", ""), ("`a`", "0.5")]);
        assert!(parse("").is_err());
        assert!(parse("| a | b |\n").is_err());
        Ok(())
    }
}
