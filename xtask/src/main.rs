//! `cargo xtask`: everything that builds or checks this repository beyond plain cargo.

mod audit;
mod bench;
#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod documents;
mod fuzz;
mod generated;
mod guest;
mod install_c;
mod package;
mod promises;
mod sanitize;
mod soak;
mod steps;
mod test;
mod tools;

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
    /// Feed luacell with random input, and compare what random programs do with native Lua
    Fuzz(fuzz::Args),
    /// Measure luacell against native Lua
    Bench(bench::Args),
    /// Install libluacell: header, libraries, pkg-config and CMake files
    InstallC(install_c::Args),
    /// Make what is handed to users
    Package(package::Args),
    /// Look at random for scripts that dodge limits, make the host grow or spoil a sandbox
    Promises(promises::Args),
    /// Run thousands of sandboxes for a while, good and hostile ones, on all stores: nothing may grow, get lost or
    /// mixed up
    Soak(soak::Args),
    /// Run tests with AddressSanitizer, ThreadSanitizer and Miri: half an hour
    Sanitize(sanitize::Args),
    /// Check licences and sources of all dependencies, and the workflow files
    Audit(audit::Args),
    /// Install what the feature `static` of the crate luacell needs: wasm2c
    Static,
    /// Run the tests and count them
    Test(test::Args),
    /// Build core and the C library for 64-bit ARM and run their tests under qemu: half an hour, as root on Debian
    TestArm64,
    /// Compare generated files with what they are made from
    VerifyGenerated(generated::Args),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Guest(args) => guest::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::InstallC(args) => install_c::run(&args),
        Command::Package(args) => package::run(&args),
        Command::Promises(args) => promises::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Sanitize(args) => sanitize::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Static => tools::wasm2c(),
        Command::Test(args) => test::run(&args),
        Command::TestArm64 => steps::finish(&mut steps::script("bash", "xtask/arm64/test.sh")),
        Command::VerifyGenerated(args) => generated::run(&args),
    }
}
