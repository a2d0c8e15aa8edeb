//! Builds that need no executable memory, beside native Lua and machine code.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::measure::{Pair, geometric_mean};
use super::sources::Sources;
use super::table::{publish, time};
use super::{Args, machine, native, programs, programs_folder};
use crate::steps::{cargo, finish};

/// The static goal: the geometric mean beside native Lua.
const GOAL: f64 = 1.3;

/// One way to execute the guest: its name in the table, and the features of the runner.
const WAYS: [(&str, &str); 4] = [
    ("machine code", "wasmtime"),
    ("`static`", "static"),
    ("`static-checks`", "static-checks"),
    ("`pulley`", "pulley"),
];

/// The interpreter is so slow that more rounds tell no more.
const SLOW: &str = "pulley";

/// Builds everything, measures, prints the table.
pub fn run(root: &Path, sources: &Sources, args: &Args) -> Result<()> {
    let native = native::build(&sources.lua, &sources.target)?;
    crate::wasm2c::install(&sources.target)?;
    let runners: Vec<PathBuf> =
        WAYS.iter().map(|(_, features)| build(root, &sources.target, features)).collect::<Result<_>>()?;

    let names: Vec<&str> = WAYS.iter().map(|(name, _)| *name).collect();
    let mut text = format!("| program | native | {} |\n|---|--:{}|\n", names.join(" | "), "|--:".repeat(WAYS.len()));
    let mut ratios = vec![Vec::new(); WAYS.len()];
    for file in programs::files(&programs_folder(root), &args.programs)? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        eprintln!("{name}");
        let (_, expected) = programs::run(&native, &file)?;
        let mut peer = f64::NAN;
        let mut cells = String::new();
        for (((way, features), runner), ratios) in WAYS.iter().zip(&runners).zip(&mut ratios) {
            let rounds = if args.quick || *features == SLOW { 1 } else { 7 };
            let ours = || {
                let (nanoseconds, result) = programs::run(runner, &file)?;
                if result != expected {
                    bail!("{name} on {way} gives {result}, expected is {expected}");
                }
                Ok(nanoseconds)
            };
            let pair = Pair::measure(rounds, || Ok(programs::run(&native, &file)?.0), ours)?;
            // Of the way with the most rounds.
            if peer.is_nan() {
                peer = pair.native();
            }
            ratios.push(pair.ratio());
            cells.push_str(&format!(" {:.2} |", pair.ratio()));
        }
        text.push_str(&format!("| {name} | {} |{cells}\n", time(peer)));
    }
    let means: Vec<f64> = ratios.iter().map(|ratios| geometric_mean(ratios)).collect();
    let row: String = means.iter().map(|mean| format!(" **{mean:.2}** |")).collect();
    text.push_str(&format!("| **geometric mean** | |{row}\n"));
    for (what, mode) in [
        ("new sandbox and drop", "create"),
        ("the same with `return 1+1` in between", "first"),
        ("`compute(\"return 1+1\")`", "compute"),
    ] {
        let row = runners.iter().map(|runner| micro(runner, mode)).collect::<Result<String>>()?;
        text.push_str(&format!("| {what} | |{row}\n"));
    }
    let sizes = runners.iter().map(|runner| size(runner)).collect::<Result<String>>()?;
    text.push_str(&format!("| a program with luacell in it, stripped | |{sizes}\n"));
    let met = means.get(1).is_some_and(|mean| *mean <= GOAL);
    text.push_str(&format!("\nGoal for `static`: at most {GOAL:.2}: {}.\n", if met { "met" } else { "MISSED" }));

    let machine = machine::describe(&sources.lua_version, &sources.wasmtime_version);
    publish(root, args.write, "no-jit", &format!("{machine}\n{text}"))
}

fn micro(runner: &Path, mode: &str) -> Result<String> {
    let text = super::output_of(runner, &[mode.as_ref(), "20000".as_ref()])?;
    let nanoseconds = text.trim().parse().with_context(|| format!("{text} is no time"))?;
    Ok(format!(" {} |", time(nanoseconds)))
}

fn size(runner: &Path) -> Result<String> {
    let stripped = runner.with_extension("stripped");
    finish(Command::new("strip").arg("-o").arg(&stripped).arg(runner))?;
    let bytes = std::fs::metadata(&stripped).context("reading the stripped program")?.len();
    Ok(format!(" {:.2} MB |", bytes as f64 / 1e6))
}

/// A runner with these features of core's and no others.
fn build(root: &Path, target: &Path, features: &str) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--release", "--package", "bench-runner", "--no-default-features", "--features", features]);
    finish(command.current_dir(root))?;
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder).context("making a folder for the benchmark")?;
    let runner = folder.join(format!("runner-{features}"));
    std::fs::copy(target.join("release").join(format!("bench-runner{}", std::env::consts::EXE_SUFFIX)), &runner)
        .with_context(|| format!("keeping the runner with {features}"))?;
    Ok(runner)
}
