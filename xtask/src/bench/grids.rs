//! Tables with a column for each way to run the guest, compared with native Lua: `lua.wasm` on each runtime, and the
//! builds without executable memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::measure::geometric_mean;
use super::programs::{Runner, compare, programs};
use super::table::{at_most, megabytes, ratio, time};
use super::{Args, build, cases};
use crate::steps::{cargo, finish, program, root, stem, target};

/// One way to run the guest.
struct Column {
    name: &'static str,
    runner: Runner,
    rounds: usize,
}

/// A row for each program and one for the means, and the means by themselves.
fn grid(columns: &[Column], only: &[String]) -> Result<(String, Vec<f64>)> {
    let native = Runner::new(&build::native()?);
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    let mut text = row("program", "native", &names) + "|---|--:" + &"|--:".repeat(names.len()) + "|\n";
    let mut ratios = vec![Vec::new(); columns.len()];
    for file in programs(only)? {
        eprintln!("{}", stem(&file));
        let measure = |column: &Column| compare(&native, &column.runner, &file, column.rounds);
        let pairs = columns.iter().map(measure).collect::<Result<Vec<_>>>()?;
        let peer = pairs.first().map(|pair| time(pair.native())).unwrap_or_default();
        text += &row(&stem(&file), &peer, &pairs.iter().map(|pair| ratio(pair.ratio())).collect::<Vec<_>>());
        ratios.iter_mut().zip(&pairs).for_each(|(ratios, pair)| ratios.push(pair.ratio()));
    }
    let means: Vec<f64> = ratios.iter().map(|ratios| geometric_mean(ratios)).collect();
    let shown: Vec<String> = means.iter().map(|mean| format!("**{mean:.2}**")).collect();
    Ok((text + &row("**geometric mean**", "", &shown), means))
}

fn row(what: &str, native: &str, cells: &[impl AsRef<str>]) -> String {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    format!("| {what} | {native} | {} |\n", cells.join(" | "))
}

/// The builds that need no executable memory, beside machine code.
pub fn no_jit(args: &Args) -> Result<String> {
    crate::tools::wasm2c()?;
    let ways = [
        ("machine code", "wasmtime", 7),
        ("`static`", "static", 7),
        ("`static-checks`", "static-checks", 7),
        // So slow that more rounds tell no more.
        ("`pulley`", "pulley", 1),
    ];
    let built = ways.iter().map(|(_, features, _)| build::runner_with(features)).collect::<Result<Vec<PathBuf>>>()?;
    let column = |((name, _, rounds), program): ((&'static str, &str, usize), &PathBuf)| Column {
        name,
        runner: Runner::new(program),
        rounds: if args.quick { 1 } else { rounds },
    };
    let (mut text, means) = grid(&ways.into_iter().zip(&built).map(column).collect::<Vec<_>>(), &args.programs)?;

    let mut add = |what: &str, cell: &dyn Fn(&Path) -> Result<String>| {
        let cells = built.iter().map(|program| cell(program)).collect::<Result<Vec<String>>>()?;
        text += &row(what, "", &cells);
        anyhow::Ok(())
    };
    for (what, mode) in [
        ("new sandbox and drop", "create"),
        ("the same with `return 1+1` in between", "first"),
        ("`compute(\"return 1+1\")`", "compute"),
    ] {
        add(what, &|program| Ok(time(cases::number(program, mode, 20_000)?)))?;
    }
    add("a program with luacell in it, stripped", &|program| Ok(megabytes(build::stripped_size(program)?)))?;
    let goal = means.get(1).map(|mean| at_most(*mean, 1.3, ratio)).unwrap_or_default();
    Ok(format!("{text}\nGoal for `static`: {goal}.\n"))
}

/// The bare hosts in `examples/`, built as their READMEs say, with all caches below `target/`.
pub fn runtimes(args: &Args) -> Result<String> {
    let (examples, go) = (root().join("examples"), root().join("target/go"));
    let mut rust = cargo(&["build", "--release", "--locked"]);
    finish(rust.current_dir(examples.join("rust-example")).env("CARGO_TARGET_DIR", target()))?;
    finish(Command::new("make").current_dir(examples.join("c-example")))?;
    let go_program = go.join(program("go-example"));
    let mut go_build = Command::new("go");
    go_build.args(["build", "-modcacherw", "-buildvcs=false", "-o"]).arg(&go_program);
    go_build.env("GOCACHE", go.join("build")).env("GOMODCACHE", go.join("modules"));
    finish(go_build.current_dir(examples.join("go-example")))?;

    let column = |name, program, script: Option<PathBuf>| {
        let arguments = script.map(Into::into).into_iter().chain(["--time".into()]).collect();
        Column { name, runner: Runner { program, arguments }, rounds: if args.quick { 1 } else { 5 } }
    };
    let columns = [
        column("wasmtime", target().join("release").join(program("rust-example")), None),
        column("wazero", go_program, None),
        column("Node.js", "node".into(), Some(examples.join("nodejs-example/index.js"))),
        column("WAMR, interpreter", examples.join("c-example/lua-wasm-demo"), None),
    ];
    Ok(grid(&columns, &args.programs)?.0)
}
