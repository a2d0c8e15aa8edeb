//! `cargo xtask`: everything that builds or checks this repository beyond plain cargo.

mod bench;
mod guest;
mod test;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds and checks the luacell repository")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build core/guest/lua.wasm from Lua's C sources, our own and our patches
    Guest(guest::Args),
    /// Measure luacell against native Lua
    Bench(bench::Args),
    /// Run the tests and count them
    Test(test::Args),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Guest(args) => guest::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Test(args) => test::run(&args),
    }
}
