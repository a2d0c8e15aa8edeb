//! `cargo xtask promises`: builds and runs the program in `xtask/promises`.

use anyhow::Result;
use clap::ValueEnum;

use crate::steps::{cargo, finish};

/// What executes the guest.
#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    Default,
    Hardened,
    Static,
    Pulley,
}

/// Options of `cargo xtask promises`.
#[derive(clap::Args)]
pub struct Args {
    /// How long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// What executes the guest
    #[arg(long, value_enum, default_value_t = Engine::Default)]
    engine: Engine,
    /// Decides what is done
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// More options of the program
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let (features, option): (&[&str], _) = match args.engine {
        Engine::Default => (&[], None),
        Engine::Hardened => (&[], Some("--hardened")),
        Engine::Static => (&["--no-default-features", "--features=async,static"], None),
        Engine::Pulley => (&["--features=pulley"], None),
    };
    if matches!(args.engine, Engine::Static) {
        crate::tools::wasm2c()?;
    }
    let mut program = cargo(&["run", "--release", "--package=promises"]);
    program.args(features).arg("--").arg(format!("--minutes={}", args.minutes)).arg(format!("--seed={}", args.seed));
    finish(program.args(option).args(&args.rest))
}
