//! Bindings compared with what people use otherwise in their language. The languages' own benchmarks measure; this
//! builds them and reads the results.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::Feature;
use super::table::{Row, time};
use crate::steps::{finish, printed, root, script};

/// Tells a feature to what builds the packages.
const FEATURES: &str = "LUACELL_FEATURES";

/// The Python package beside lupa.
pub fn python(quick: bool, feature: Feature) -> Result<Vec<Row>> {
    eprintln!("Python");
    let mut bench = script("python3", "py/tools/develop.py");
    bench.args(["python", "bench.py"]).envs(feature.map(|feature| (FEATURES, feature)));
    rows("Python / lupa 2.8 with its Lua 5.4", bench, quick)
}

/// The Node.js package beside wasmoon.
pub fn node(quick: bool, feature: Feature) -> Result<Vec<Row>> {
    built_by_node("Node.js / wasmoon 1.16", script("node", "node/bench.mjs"), quick, feature)
}

/// The Node.js package beside the example of a host of lua.wasm.
pub fn node_host(quick: bool) -> Result<Vec<Row>> {
    let heading = "Node.js package / plain host of lua.wasm in JavaScript";
    built_by_node(heading, script("node", "xtask/bench-peers/node-host.mjs"), quick, None)
}

fn built_by_node(heading: &str, bench: Command, quick: bool, feature: Feature) -> Result<Vec<Row>> {
    eprintln!("Node.js");
    if printed(Command::new("npm").arg("--version")).is_err() {
        return Ok(vec![Row::heading(heading), Row::note("not measured", "node and npm are not installed")]);
    }
    finish(&mut script("node", "node/tools/install.mjs"))?;
    let mut build = Command::new("npm");
    finish(
        build.args(["run", "build"]).envs(feature.map(|feature| (FEATURES, feature))).current_dir(root().join("node")),
    )?;
    rows(heading, bench, quick)
}

fn rows(heading: &str, mut bench: Command, quick: bool) -> Result<Vec<Row>> {
    // Not its exit status: it says too whether goals are met.
    let output = bench.args(quick.then_some("--quick")).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {bench:?}"))?;
    parse(heading, &String::from_utf8(output.stdout)?).with_context(|| format!("{bench:?} gave no table"))
}

/// On each line: what, the peer's figure, ours, the ratio, the goal, between tabs. A number is one of nanoseconds.
fn parse(heading: &str, text: &str) -> Result<Vec<Row>> {
    let figure = |cell: &str| cell.parse().map_or(cell.to_owned(), time);
    let mut rows = vec![Row::heading(heading)];
    for line in text.lines() {
        let [what, peer, ours, ratio, goal] = line.split('\t').collect::<Vec<_>>()[..] else {
            bail!("a line that is none of a table: {line}");
        };
        rows.push(Row { peer: figure(peer), ours: figure(ours), ratio: ratio.to_owned(), ..Row::note(what, goal) });
    }
    ensure!(rows.len() > 1, "nothing was measured");
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_rows() -> Result<()> {
        let rows = parse("luacell / peer", "`a`\t2000\t1.5 µs\t0.75\t\n")?;
        let texts: Vec<_> = rows.iter().map(|row| [&row.what, &row.peer, &row.ours, &row.ratio]).collect();
        assert_eq!(texts, [["**luacell / peer**", "", "", ""], ["`a`", "2.00 µs", "1.5 µs", "0.75"]]);
        assert!(parse("", "").is_err());
        assert!(parse("", "a\tb\n").is_err());
        Ok(())
    }
}
