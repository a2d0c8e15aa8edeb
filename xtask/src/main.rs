//! `cargo xtask`: everything that builds or checks this repository beyond plain cargo.

mod guest;

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
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Guest(args) => guest::run(&args),
    }
}
