//! `cargo xtask bench`: luacell against its peers in one run, one table, reported as ratios.

mod build;
mod cases;
mod extism;
mod grids;
mod languages;
mod measure;
mod mobile;
mod peers;
mod processes;
mod programs;
mod sizes;
mod table;

use std::process::Command;

use anyhow::{Context, Result};

use crate::steps::printed;
use build::Contestants;
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
    /// Build everything with the feature `static`: the same rows, of the guest translated to C
    #[arg(long = "static", conflicts_with_all = ["runtimes", "no_jit", "peers", "mobile", "metering", "waiting"])]
    translated: bool,
    #[command(flatten)]
    only: Only,
    /// Only these programs (file names in xtask/programs without .lua) and no other rows
    #[arg(value_name = "PROGRAM", conflicts_with_all = ["write", "peers", "python", "node", "mobile", "metering"])]
    programs: Vec<String>,
}

#[derive(clap::Args)]
#[group(multiple = false)]
struct Only {
    /// Measure the bare hosts in examples/ instead: lua.wasm on each runtime
    #[arg(long)]
    runtimes: bool,
    /// Measure the builds without executable memory instead: features `static`, `static-checks` and `pulley`
    #[arg(long)]
    no_jit: bool,
    /// Measure other ways to run Lua instead: mlua, extism, a plain host of lua.wasm
    #[arg(long)]
    peers: bool,
    /// Only the Kotlin artifact and the Swift package beside the Rust interface
    #[arg(long)]
    mobile: bool,
    /// Only the Python package beside lupa
    #[arg(long, conflicts_with = "write")]
    python: bool,
    /// Only the Node.js package beside wasmoon
    #[arg(long, conflicts_with = "write")]
    node: bool,
    /// Only what counting instructions costs
    #[arg(long, conflicts_with = "write")]
    metering: bool,
    /// Only runs that wait
    #[arg(long, conflicts_with = "write")]
    waiting: bool,
}

/// A feature that what is measured is built with besides what it ships with.
type Feature = Option<&'static str>;

/// How often both sides take turns.
#[derive(Clone, Copy)]
struct Rounds {
    usual: usize,
    /// Of what takes long.
    few: usize,
    /// Of what is short.
    many: usize,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let rounds =
        if args.quick { Rounds { usual: 3, few: 3, many: 20 } } else { Rounds { usual: 11, few: 5, many: 100 } };
    let feature = args.translated.then_some("static");
    if args.translated {
        crate::tools::wasm2c()?;
    }
    let (name, text) = match args.only {
        Only { runtimes: true, .. } => ("runtimes", grids::runtimes(args)?),
        Only { no_jit: true, .. } => ("no-jit", grids::no_jit(args)?),
        Only { peers: true, .. } => ("peers", table::render(&peers::rows(args.quick, rounds)?)),
        Only { mobile: true, .. } => ("mobile", table::render(&mobile::rows(rounds.few)?)),
        Only { python: true, .. } => ("", table::render(&languages::python(args.quick, feature)?)),
        Only { node: true, .. } => ("", table::render(&languages::node(args.quick, feature)?)),
        Only { waiting: true, .. } => {
            let contestants = build::contestants(feature)?;
            ("", table::render(&cases::waiting(&contestants, rounds.few)?))
        }
        Only { metering: true, .. } => {
            let unmetered = build::unmetered()?;
            let contestants = build::contestants(feature)?;
            // The goal is some percent: the median has to be steady.
            ("", table::render(&programs::metering(&contestants, &unmetered, 3 * rounds.usual)?))
        }
        _ if args.programs.is_empty() => {
            (if args.translated { "static" } else { "bench" }, table::render(&everything(args, rounds, feature)?))
        }
        _ => ("", table::render(&programs::rows(&build::contestants(feature)?, &args.programs, rounds.usual)?)),
    };
    let text = format!("{}\n{text}", machine()?);
    println!("\n{text}");
    if args.write {
        table::write_to_page(name, &text)?;
    }
    Ok(())
}

/// All rows of the one table.
fn everything(args: &Args, rounds: Rounds, feature: Feature) -> Result<Vec<Row>> {
    // What is built comes first, so that nothing is compiled while something is measured.
    let unmetered = if args.quick || args.translated { None } else { Some(build::unmetered()?) };
    let contestants = build::contestants(feature)?;
    let c = build::c_library(feature)?;
    let mut languages = languages::python(args.quick, feature)?;
    languages.extend(languages::node(args.quick, feature)?);

    let mut rows = vec![Row::heading("luacell / native Lua")];
    rows.extend(programs::rows(&contestants, &[], rounds.usual)?);
    if let Some(unmetered) = &unmetered {
        rows.extend(programs::metering(&contestants, unmetered, rounds.usual)?);
    }
    rows.extend(cases::beside_native(&contestants, rounds.usual)?);
    rows.push(processes::beside_nothing(&contestants, rounds.many)?);
    rows.extend(system_lua(&contestants, rounds)?);
    rows.push(Row::heading("What native Lua has nothing like"));
    rows.extend(cases::deadlines(&contestants, rounds.usual.min(3))?);
    rows.extend(cases::stores(&contestants, rounds.few)?);
    rows.extend(cases::alone(&contestants, rounds.few)?);
    rows.extend(cases::threads(&contestants, rounds.few)?);
    rows.push(Row::heading("Runs that wait"));
    rows.extend(cases::waiting(&contestants, rounds.few)?);
    rows.push(Row::heading("C library / the Rust interface"));
    match &c {
        Some(built) => rows.extend(cases::beside_rust(&contestants, &built.program, rounds.usual)?),
        None => rows.push(Row::note("not measured", "`cargo xtask install-c` knows Linux only")),
    }
    rows.extend(languages);
    rows.extend(sizes::rows(&contestants, c.as_ref(), args.sizes)?);
    Ok(rows)
}

/// A second native peer: the Lua that the system has, such as Debian's package.
fn system_lua(contestants: &Contestants, rounds: Rounds) -> Result<Vec<Row>> {
    const LUA: &str = "lua5.4";
    let Ok(version) = printed(Command::new(LUA).arg("-v")) else {
        let why = format!("`{LUA}` is not installed (apt-get install {LUA})");
        return Ok(vec![Row::heading("The system's Lua"), Row::note("not measured", &why)]);
    };
    let release = version.split("  ").next().unwrap_or(&version).trim();
    let mut rows = vec![
        Row::heading(&format!("luacell / the system's `{LUA}`, {release}")),
        programs::mean(&programs::installed_lua(LUA), contestants, rounds.few, None)?,
        processes::beside_lua(contestants, LUA, rounds.many)?,
    ];
    if printed(Command::new(LUA).args(["-e", "require 'cjson'"])).is_ok() {
        rows.extend(programs::json(&programs::installed_lua(LUA), contestants, rounds.few)?);
    } else {
        rows.push(Row::note("not measured", "lua-cjson is not installed (apt-get install lua-cjson)"));
    }
    Ok(rows)
}

/// Where the figures come from: machine and versions, as a list in Markdown.
fn machine() -> Result<String> {
    let first_line = |program: &str, arguments: &[&str]| {
        let text = printed(Command::new(program).args(arguments)).unwrap_or_default();
        text.lines().next().unwrap_or("unknown").to_owned()
    };
    let table = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = table.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let processor =
        name.map_or_else(|| first_line("sysctl", &["-n", "machdep.cpu.brand_string"]), |(_, name)| name.to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let wasmtime = printed(&mut crate::steps::cargo(&["pkgid", "wasmtime"]))?;
    let (_, wasmtime) = wasmtime.trim().rsplit_once('@').context("cargo pkgid gives no version")?;
    Ok(format!(
        "- machine: {processor}, {cores} cores, {} {}\n- native Lua: Lua {}, {} -O3\n- luacell: {}, {}, wasmtime {wasmtime}\n",
        std::env::consts::OS,
        std::env::consts::ARCH,
        crate::guest::recipe::LUA_FOLDER.trim_start_matches("lua-"),
        first_line(&build::compiler(), &["--version"]),
        env!("CARGO_PKG_VERSION"),
        first_line("rustc", &["--version"]),
    ))
}
