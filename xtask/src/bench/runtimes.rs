//! `lua.wasm` on each runtime: the bare hosts in `examples/` beside native Lua.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::measure::{Pair, geometric_mean};
use super::sources::Sources;
use super::table::{publish, time};
use super::{Args, machine, native, programs, programs_folder};
use crate::steps::{cargo, finish};

/// A program that times one Lua file when it is called with `--time FILE`.
struct Host {
    runtime: &'static str,
    program: PathBuf,
    /// Arguments before that one.
    script: Option<OsString>,
}

/// Builds everything, measures, prints the table.
pub fn run(root: &Path, sources: &Sources, args: &Args) -> Result<()> {
    let native = native::build(&sources.lua, &sources.target)?;
    let hosts = build(root, &sources.target)?;
    let rounds = if args.quick { 1 } else { 5 };

    let names: Vec<&str> = hosts.iter().map(|host| host.runtime).collect();
    let mut text = format!("| program | native | {} |\n|---|--:{}|\n", names.join(" | "), "|--:".repeat(hosts.len()));
    let mut ratios = vec![Vec::new(); hosts.len()];
    for file in programs::files(&programs_folder(root), &args.programs)? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        eprintln!("{name}");
        let mut peer = f64::NAN;
        let mut cells = String::new();
        for (host, ratios) in hosts.iter().zip(&mut ratios) {
            let pair = measure(&native, host, &file, rounds).with_context(|| format!("{name} on {}", host.runtime))?;
            peer = pair.native();
            ratios.push(pair.ratio());
            cells.push_str(&format!(" {:.2} |", pair.ratio()));
        }
        text.push_str(&format!("| {name} | {} |{cells}\n", time(peer)));
    }
    let means: String = ratios.iter().map(|ratios| format!(" **{:.2}** |", geometric_mean(ratios))).collect();
    text.push_str(&format!("| **geometric mean** | |{means}\n"));

    let machine = machine::describe(&sources.lua_version, &sources.wasmtime_version);
    publish(root, args.write, "runtimes", &format!("{machine}\n{text}"))
}

/// One program on both sides; the results must agree.
fn measure(native: &Path, host: &Host, file: &Path, rounds: usize) -> Result<Pair> {
    let (_, expected) = programs::run(native, file)?;
    let mut arguments: Vec<&OsStr> = host.script.as_deref().into_iter().collect();
    arguments.extend([OsStr::new("--time"), file.as_os_str()]);
    let ours = || {
        let (nanoseconds, result) = programs::timed(&host.program, &arguments)?;
        if result != expected {
            bail!("the result is {result}, expected is {expected}");
        }
        Ok(nanoseconds)
    };
    Pair::measure(rounds, || Ok(programs::run(native, file)?.0), ours)
}

/// Builds the examples as their READMEs say, with all caches below `target/`.
fn build(root: &Path, target: &Path) -> Result<Vec<Host>> {
    let examples = root.join("examples");
    let exe = std::env::consts::EXE_SUFFIX;
    let go = target.join("go");
    let go_program = go.join(format!("go-example{exe}"));

    finish(
        cargo()
            .args(["build", "--release", "--locked"])
            .current_dir(examples.join("rust-example"))
            .env("CARGO_TARGET_DIR", target),
    )?;
    finish(Command::new("make").current_dir(examples.join("c-example")))?;
    finish(
        Command::new("go")
            .args(["build", "-modcacherw", "-buildvcs=false", "-o"])
            .arg(&go_program)
            .current_dir(examples.join("go-example"))
            .env("GOCACHE", go.join("build"))
            .env("GOMODCACHE", go.join("modules")),
    )?;

    let host = |runtime, program| Host { runtime, program, script: None };
    Ok(vec![
        host("wasmtime", target.join("release").join(format!("rust-example{exe}"))),
        host("wazero", go_program),
        Host {
            runtime: "Node.js",
            program: "node".into(),
            script: Some(examples.join("nodejs-example").join("index.js").into()),
        },
        host("WAMR, interpreter", examples.join("c-example").join("lua-wasm-demo")),
    ])
}
