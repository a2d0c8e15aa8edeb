//! `cargo xtask bench`: luacell against native PUC Lua in one run, reported as ratios.

mod cold;
mod deadline;
mod machine;
mod measure;
mod metering;
mod micro;
mod native;
mod no_jit;
mod node;
mod programs;
mod python;
mod runtimes;
mod sources;
mod state;
mod table;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use sources::Sources;

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {
    /// Few rounds: an impression in half a minute
    #[arg(long)]
    quick: bool,
    /// Put the table into docs/performance.md
    #[arg(long)]
    write: bool,
    /// Measure the bare hosts in examples/ instead: lua.wasm on each runtime
    #[arg(long)]
    runtimes: bool,
    /// Measure the builds without executable memory instead: features `static`, `static-checks` and `pulley`
    #[arg(long, conflicts_with = "runtimes")]
    no_jit: bool,
    /// Measure the Python package beside lupa instead
    #[arg(long, conflicts_with_all = ["runtimes", "no_jit", "programs"])]
    python: bool,
    /// Measure the Node.js package instead, beside wasmoon
    #[arg(long, conflicts_with_all = ["runtimes", "no_jit", "programs", "python"])]
    node: bool,
    /// Only these programs (file names in xtask/programs without .lua) and no other rows
    #[arg(value_name = "PROGRAM", conflicts_with = "write")]
    programs: Vec<String>,
}

/// The two programs that are compared, and the command line program.
struct Contestants {
    native: PathBuf,
    runner: PathBuf,
    cli: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the package has no parent folder")?;
    if args.python {
        return python::run(root, args);
    }
    let sources = Sources::find(root)?;
    if args.runtimes {
        return runtimes::run(root, &sources, args);
    }
    if args.no_jit {
        return no_jit::run(root, &sources, args);
    }
    if args.node {
        return node::run(root, &sources, args);
    }
    let unmetered = if args.programs.is_empty() { Some(metering::build(root, &sources.target)?) } else { None };
    build(root, None)?;
    let release = sources.target.join("release");
    let contestants = Contestants {
        native: native::build(&sources.lua, &sources.target)?,
        runner: release.join(format!("bench-runner{}", std::env::consts::EXE_SUFFIX)),
        cli: release.join(format!("luacell{}", std::env::consts::EXE_SUFFIX)),
    };

    let (rounds, short_rounds) = if args.quick { (3, 20) } else { (11, 100) };
    let folder = root.join("xtask").join("programs");
    let mut rows = programs::rows(&contestants, &folder, &args.programs, rounds)?;
    if args.programs.is_empty() {
        if let Some(unmetered) = &unmetered {
            rows.push(metering::row(&contestants, unmetered, &folder, rounds)?);
        }
        rows.extend(micro::rows(&contestants, rounds)?);
        rows.extend(deadline::rows(&contestants, rounds.min(3))?);
        rows.push(deadline::waiting(&contestants)?);
        rows.extend(state::rows(&contestants, rounds.min(5))?);
        rows.extend(state::alone(&contestants, rounds.min(5))?);
        rows.push(cold::row(&contestants, short_rounds)?);
    }

    let machine = machine::describe(&sources.lua_version, &sources.wasmtime_version);
    let table = table::render(&rows);
    table::publish(root, args.write, "bench", &format!("{machine}\n{table}"))
}

/// Builds our side as users get it, or with another guest.
fn build(root: &Path, guest: Option<&Path>) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--package", "bench-runner", "--package", "luacell-cli"]).current_dir(root);
    if let Some(guest) = guest {
        command.env("LUACELL_BENCH_GUEST", guest);
    }
    let status = command.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("the release build failed");
    }
    Ok(())
}

/// What a program writes to standard output.
fn output_of(program: &Path, args: &[&OsStr]) -> Result<String> {
    let output =
        Command::new(program).args(args).output().with_context(|| format!("cannot start {}", program.display()))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{} {args:?} ended with {}: {}", program.display(), output.status, errors.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} does not write UTF-8", program.display()))
}
