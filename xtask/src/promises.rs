//! `cargo xtask promises`: builds and runs the program in `xtask/promises`.

use anyhow::Result;
use clap::ValueEnum;

use crate::steps::{cargo, finish, root};
use crate::wasm2c;

/// What executes the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
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
    let target = root().join("target");
    let mut build = cargo();
    build.args(["build", "--release", "--package", "promises"]).current_dir(root());
    match args.engine {
        Engine::Default | Engine::Hardened => {}
        Engine::Static => {
            wasm2c::install(&target)?;
            build.args(["--no-default-features", "--features", "async,static"]);
        }
        Engine::Pulley => drop(build.args(["--features", "pulley"])),
    }
    finish(&mut build)?;
    let mut program = std::process::Command::new(target.join("release/promises"));
    program.arg(format!("--minutes={}", args.minutes)).arg(format!("--seed={}", args.seed)).args(&args.rest);
    if args.engine == Engine::Hardened {
        program.arg("--hardened");
    }
    finish(&mut program)
}
