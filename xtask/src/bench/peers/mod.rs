//! `cargo xtask bench --peers`: other ways for a program to run Lua, each beside luacell in the same run.
//!
//! mlua is a program of its own (`xtask/bench-peers`); extism is its library from PyPI with a plug-in that the guest's compiler makes; a plain
//! host of lua.wasm is the example in JavaScript.

mod extism;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::measure::{Pair, geometric_mean};
use super::sources::Sources;
use super::table::{Row, at_most, publish, render};
use super::{Args, Contestants, machine, micro, node, output_of, programs, programs_folder};
use crate::steps::{cargo, finish};

/// The peer's modes, what they are called, and how often each is repeated in a process.
const MLUA: &[(&str, &str, u32)] = &[
    ("create", "new sandbox and drop / new Lua and drop", 10_000),
    ("first", "the same with `return 1+1` in between", 10_000),
    ("compute", "compute(\"return 1+1\") / load, eval", 300_000),
    ("call", "calling a Lua function by name, two integers to one", 300_000),
    ("hostcall", "host function, two integers to one, in a Lua loop", 1_000_000),
    ("records-in", "1,000 records of 3 fields built, passed in, added up", 200),
    ("records-out", "1,000 records of 3 fields as a result, into structs", 200),
    ("api-get", "reading a field from the host: of a kept table / of a Lua table", 300_000),
    ("api-set", "writing it: the kept table's is a transaction", 100_000),
];

/// Builds everything, measures, prints the table.
pub fn run(root: &Path, sources: &Sources, args: &Args) -> Result<()> {
    let contestants = super::contestants(root, sources, None)?;
    let mlua = build_mlua(root, &sources.target)?;
    let plugin = extism::build(sources)?;
    let rounds = if args.quick { 3 } else { 11 };

    let mut rows = vec![Row::heading("luacell / mlua 0.12.2 with its own Lua 5.4")];
    rows.push(interpreter(root, &contestants, &mlua, rounds.min(5))?);
    for (mode, what, count) in MLUA {
        rows.push(ahead(what, &micro::measure(&mlua, &contestants.runner, mode, *count, rounds)?));
    }
    rows.extend(extism::rows(&contestants, &plugin, rounds)?);
    rows.extend(node_host(root, args.quick)?);
    let machine = machine::describe(&sources.lua_version, &sources.wasmtime_version);
    publish(root, args.write, "peers", &format!("{machine}\n{}", render(&rows)))
}

/// A row with the goal to be no slower.
fn ahead(what: &str, pair: &Pair) -> Row {
    Row { goal: at_most(pair.ratio(), 1.0, "1.00"), ..micro::pair_row(what, pair) }
}

fn interpreter(root: &Path, contestants: &Contestants, mlua: &Path, rounds: usize) -> Result<Row> {
    let mut ratios = Vec::new();
    for file in programs::files(&programs_folder(root), &[])? {
        eprintln!("mlua: {}", file.file_stem().unwrap_or_default().to_string_lossy());
        let pair = Pair::measure(
            rounds,
            || Ok(programs::run(mlua, &file)?.0),
            || Ok(programs::run(&contestants.runner, &file)?.0),
        )?;
        ratios.push(pair.ratio());
    }
    let mean = geometric_mean(&ratios);
    Ok(Row {
        ratio: format!("{mean:.2}"),
        ..Row::note(&format!("geometric mean of {} programs", ratios.len()), &at_most(mean, 1.0, "1.00"))
    })
}

/// The program with mlua in it.
fn build_mlua(root: &Path, target: &Path) -> Result<PathBuf> {
    let target = target.join("bench").join("mlua");
    let mut command = cargo();
    command.args(["build", "--release", "--locked"]).current_dir(root.join("xtask/bench-peers"));
    finish(command.env("CARGO_TARGET_DIR", &target))?;
    Ok(target.join("release").join(format!("bench-peers{}", std::env::consts::EXE_SUFFIX)))
}

fn node_host(root: &Path, quick: bool) -> Result<Vec<Row>> {
    if output_of(Path::new("npm"), &["--version".as_ref()]).is_err() {
        let note = Row::note("not measured", "node and npm are not installed");
        return Ok(vec![Row::heading("A plain host of lua.wasm in JavaScript"), note]);
    }
    eprintln!("plain host in JavaScript");
    node::build(root, None)?;
    let mut command = Command::new("node");
    command.arg(root.join("xtask/src/bench/peers/node-host.mjs")).args(quick.then_some("--quick"));
    let output = command.stderr(Stdio::inherit()).output().context("cannot start node")?;
    if !output.status.success() {
        bail!("node-host.mjs ended with {}", output.status);
    }
    node::parse(&String::from_utf8_lossy(&output.stdout))
}
