//! The Node.js package beside wasmoon: `node/bench.mjs` measures, this builds and keeps the table.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::sources::Sources;
use super::table::publish;
use super::{Args, machine};

/// Builds the package, measures, prints the table.
pub fn run(root: &Path, sources: &Sources, args: &Args) -> Result<()> {
    let folder = root.join("node");
    step(Command::new("node").arg("tools/install.mjs").current_dir(&folder))?;
    step(Command::new("npm").args(["run", "build"]).current_dir(&folder))?;
    let mut bench = Command::new("node");
    bench.arg("bench.mjs").current_dir(&folder);
    if args.quick {
        bench.arg("--quick");
    }
    let output = bench.stderr(std::process::Stdio::inherit()).output().context("cannot start node")?;
    let table = String::from_utf8_lossy(&output.stdout);
    if !table.starts_with('|') {
        bail!("bench.mjs gave no table");
    }
    let machine = machine::describe(&sources.lua_version, &sources.wasmtime_version);
    publish(root, args.write, "node", &format!("{machine}\n{table}"))
}

fn step(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
