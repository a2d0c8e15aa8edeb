//! `cargo xtask bench`: luacell against its peers in one run, one table, reported as ratios.

mod c_library;
mod cold;
mod deadline;
mod machine;
mod measure;
mod metering;
mod micro;
mod mobile;
mod native;
mod no_jit;
mod node;
mod peers;
mod programs;
mod python;
mod runtimes;
mod sizes;
mod sources;
mod state;
mod system_lua;
mod table;
mod threads;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::steps::{cargo, finish, printed, root};
use sources::Sources;
use table::Row;

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {
    /// Few rounds, and nothing about the cost of metering: an impression in a few minutes
    #[arg(long)]
    quick: bool,
    /// Put the table into docs/performance.md
    #[arg(long)]
    write: bool,
    /// Build what else ships too, to tell its size
    #[arg(long)]
    sizes: bool,
    /// Measure the bare hosts in examples/ instead: lua.wasm on each runtime
    #[arg(long)]
    runtimes: bool,
    /// Measure the builds without executable memory instead: features `static`, `static-checks` and `pulley`
    #[arg(long, conflicts_with = "runtimes")]
    no_jit: bool,
    /// Build everything with the feature `static`: the same rows, of the guest translated to C
    #[arg(long = "static", conflicts_with_all = ["runtimes", "no_jit", "sizes"])]
    translated: bool,
    /// Measure other ways to run Lua instead: mlua, extism, a plain host of lua.wasm
    #[arg(long, conflicts_with_all = ["runtimes", "no_jit", "translated", "programs"])]
    peers: bool,
    /// Only the Python package beside lupa
    #[arg(long, conflicts_with_all = ["runtimes", "no_jit", "peers", "programs", "write"])]
    python: bool,
    /// Only the Node.js package beside wasmoon
    #[arg(long, conflicts_with_all = ["runtimes", "no_jit", "peers", "programs", "python", "write"])]
    node: bool,
    /// Only the Kotlin artifact and the Swift package beside the Rust interface
    #[arg(long, conflicts_with_all = ["runtimes", "no_jit", "translated", "peers", "programs", "python", "node"])]
    mobile: bool,
    /// Only what counting instructions costs
    #[arg(long, conflicts_with_all = ["runtimes", "no_jit", "translated", "peers", "programs", "python", "node", "mobile", "quick", "write"])]
    metering: bool,
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
    let root = root();
    let sources = Sources::find(root)?;
    if args.runtimes {
        return runtimes::run(root, &sources, args);
    }
    if args.no_jit {
        return no_jit::run(root, &sources, args);
    }
    if args.peers {
        return peers::run(root, &sources, args);
    }
    if args.translated {
        crate::wasm2c::install(&sources.target)?;
    }
    let features = features(args);
    let rows = if args.mobile {
        mobile::rows(&contestants(root, &sources, features)?, root, rounds(args).0.min(5))?
    } else if args.python {
        python::rows(root, args.quick, features)?
    } else if args.node {
        node::rows(root, args.quick, features)?
    } else if args.metering {
        let unmetered = metering::build(root, &sources.target)?;
        let contestants = contestants(root, &sources, features)?;
        metering::rows(&contestants, &unmetered, &programs_folder(root), rounds(args).0)?
    } else if args.programs.is_empty() {
        everything(root, &sources, args)?
    } else {
        let contestants = contestants(root, &sources, features)?;
        programs::rows(&contestants, &programs_folder(root), &args.programs, rounds(args).0)?
    };
    let machine = machine::describe(&sources.lua_version, &sources.wasmtime_version);
    let table = table::render(&rows);
    let name = match args {
        Args { mobile: true, .. } => "mobile",
        Args { translated: true, .. } => "static",
        _ => "bench",
    };
    table::publish(root, args.write, name, &format!("{machine}\n{table}"))
}

/// What everything that is measured is built with besides what it ships with.
fn features(args: &Args) -> Features {
    if args.translated { Some("static") } else { None }
}

/// A feature of all our packages, by its name.
type Features = Option<&'static str>;

/// Tells it to what builds the Python and the Node.js package.
const FEATURES: &str = "LUACELL_FEATURES";

/// Rounds of what takes long, and of what is short.
fn rounds(args: &Args) -> (usize, usize) {
    if args.quick { (3, 20) } else { (11, 100) }
}

fn programs_folder(root: &Path) -> PathBuf {
    root.join("xtask").join("programs")
}

/// All rows of the one table.
fn everything(root: &Path, sources: &Sources, args: &Args) -> Result<Vec<Row>> {
    // What is built comes first, so that nothing is compiled while something is measured.
    let features = features(args);
    let unmetered = if args.quick || args.translated { None } else { Some(metering::build(root, &sources.target)?) };
    let contestants = contestants(root, sources, features)?;
    let c = c_library::build(&sources.target, features)?;
    let bindings = bindings(root, args.quick, features)?;

    let (rounds, short_rounds) = rounds(args);
    let folder = programs_folder(root);
    let mut rows = vec![Row::heading("luacell / native Lua")];
    rows.extend(programs::rows(&contestants, &folder, &[], rounds)?);
    if let Some(unmetered) = &unmetered {
        rows.extend(metering::rows(&contestants, unmetered, &folder, rounds)?);
    }
    rows.extend(micro::rows(&contestants, rounds)?);
    rows.push(cold::row(&contestants, short_rounds)?);
    rows.extend(system_lua::rows(&contestants, root, rounds.min(5), short_rounds)?);
    rows.push(Row::heading("What native Lua has nothing like"));
    rows.extend(deadline::rows(&contestants, rounds.min(3))?);
    rows.push(deadline::waiting(&contestants)?);
    rows.extend(state::rows(&contestants, rounds.min(5))?);
    rows.extend(state::alone(&contestants, rounds.min(5))?);
    rows.extend(threads::rows(&contestants, rounds.min(5))?);
    rows.extend(c_library::rows(&contestants, c.as_ref(), rounds)?);
    rows.extend(bindings);
    rows.extend(sizes::rows(root, &sources.target, &contestants, c.as_ref(), args.sizes)?);
    Ok(rows)
}

/// Each package beside what people use else in its language.
fn bindings(root: &Path, quick: bool, features: Features) -> Result<Vec<Row>> {
    let mut rows = python::rows(root, quick, features)?;
    if output_of(Path::new("npm"), &[OsStr::new("--version")]).is_ok() {
        rows.extend(node::rows(root, quick, features)?);
    } else {
        rows.extend([Row::heading("Node.js"), Row::note("not measured", "node and npm are not installed")]);
    }
    Ok(rows)
}

fn contestants(root: &Path, sources: &Sources, features: Features) -> Result<Contestants> {
    build(root, None, features)?;
    let release = sources.target.join("release");
    Ok(Contestants {
        native: native::build(&sources.lua, &sources.target)?,
        runner: release.join(format!("bench-runner{}", std::env::consts::EXE_SUFFIX)),
        cli: release.join(format!("luacell{}", std::env::consts::EXE_SUFFIX)),
    })
}

/// Builds our side as users get it, or with another guest or feature.
fn build(root: &Path, guest: Option<&Path>, features: Features) -> Result<()> {
    let mut command = cargo();
    command.args(["build", "--release", "--package", "bench-runner", "--package", "luacell-cli"]).current_dir(root);
    command.args(features.map(|feature| format!("--features={feature}")));
    if let Some(guest) = guest {
        command.env("LUACELL_BENCH_GUEST", guest);
    }
    finish(&mut command)
}

/// What a program writes to standard output.
fn output_of(program: &Path, args: &[&OsStr]) -> Result<String> {
    printed(Command::new(program).args(args))
}
