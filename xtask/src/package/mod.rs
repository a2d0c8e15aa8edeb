//! `cargo xtask package`: what is handed to users.

mod android;
mod apple;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Options of `cargo xtask package`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The Kotlin artifact for Android: an AAR with the library of each ABI that can be built here
    Android(android::Args),
    /// The XCFramework of the Swift package; on macOS, with Xcode
    Apple,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the package has no parent folder")?;
    match &args.what {
        What::Android(args) => android::run(root, args),
        What::Apple => apple::run(root),
    }
}

/// An empty folder.
fn fresh(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}
