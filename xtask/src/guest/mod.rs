//! `cargo xtask guest`: builds `core/guest/lua.wasm`.

use anyhow::{Result, bail};

/// Options of `cargo xtask guest`.
#[derive(clap::Args)]
pub struct Args {
    /// Rebuild and compare with the committed module instead of writing it
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub fn run(_args: &Args) -> Result<()> {
    bail!("not written yet")
}
