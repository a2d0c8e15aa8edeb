//! `cargo xtask sanitize`: the tests again, with the checks that compilers can add. Instrumented builds have their own
//! folder below `target/`.

mod guest;

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::steps::{cargo, finish, printed, root};

/// Options of `cargo xtask sanitize`.
#[derive(clap::Args)]
pub struct Args {
    /// Only these; without any all that can run here
    #[arg(value_name = "WHAT", value_enum)]
    what: Vec<What>,
    /// The guest only for as long as a check of every change may take
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum What {
    /// AddressSanitizer: the tests of core and of the C library, the C programs, and a minute of calls at random
    Address,
    /// ThreadSanitizer: sandboxes and stores that several threads use; where the sources of Rust's library are
    Thread,
    /// Miri: the C library's code that handles pointers; where a toolchain has it
    Miri,
    /// The guest's C as a native program with AddressSanitizer, UndefinedBehaviorSanitizer and Lua's assertions, on
    /// x86-64 Linux
    Guest,
}

/// Heap and globals only: a trap leaves frames behind, on stacks that fibers use again, and what is marked there would
/// stay marked.
const WITHOUT_STACK: &str = "-Cllvm-args=-asan-stack=0";

/// The one whose sanitizers Rust's toolchains bring.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Crashes of the guest are signals that wasmtime handles.
const SIGNALS: &str = "allow_user_segv_handler=1:handle_segv=0:handle_sigill=0:handle_sigfpe=0:handle_sigbus=0";

/// The same for all, so that wasmtime is built once.
const FEATURES: &str = "luacell/async,luacell/hardened,luacell/jit,luacell/json,luacell/redis,luacell/testkit";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let wanted = |what| args.what.is_empty() || args.what.contains(&what);
    if wanted(What::Guest) {
        guest::run(args.quick)?;
    }
    if wanted(What::Address) {
        address()?;
    }
    let can_run = |what, is_there: bool, missing: &str| {
        if !is_there && args.what.contains(&what) {
            bail!("{missing}");
        }
        if !is_there && wanted(what) {
            println!("left out: {missing}");
        }
        Ok(is_there && wanted(what))
    };
    let missing = "ThreadSanitizer needs the sources of Rust's library: rustup component add rust-src";
    if can_run(What::Thread, has_sources_of_library()?, missing)? {
        thread()?;
    }
    let missing = "no toolchain with Miri is installed: rustup toolchain install nightly --component miri";
    if can_run(What::Miri, has_miri(), missing)? {
        miri()?;
    }
    Ok(())
}

/// cargo with a sanitizer, which a released compiler offers only when it is told that this is known to be unstable.
fn instrumented(options: &str, arguments: &[&str]) -> Command {
    let mut command = cargo(arguments);
    command.args(["--target", TARGET, "--features", FEATURES]).env("RUSTC_BOOTSTRAP", "1");
    command.env("RUSTC_WRAPPER", root().join("xtask/sanitize.sh"));
    command.env("LUACELL_SANITIZER", format!("-Zsanitizer=address {WITHOUT_STACK} {options}"));
    command.env("CARGO_TARGET_DIR", root().join("target/sanitize/address")).env("ASAN_OPTIONS", SIGNALS);
    command
}

fn address() -> Result<()> {
    let mut tests = instrumented("", &["test", "--package", "luacell", "--lib", "--tests"]);
    // Hundreds of processes, each of which starts slowly.
    finish(tests.args(["--", "--skip", "killed_"]))?;
    finish(&mut instrumented("", &["test", "--package", "luacell-ffi", "--lib"]))?;
    // Without a runtime in it: the program that loads it has one.
    finish(&mut instrumented("-Zexternal-clangrt", &["build", "--package", "luacell-ffi"]))?;
    let built = root().join("target/sanitize/address").join(TARGET).join("debug");
    let mut programs = Command::new("make");
    programs.arg("-C").arg(root().join("ffi-c")).args(["test-api", "test-corpus", "SANITIZE=1"]);
    programs.arg(format!("LIBRARY={}", built.display()));
    finish(programs.arg(format!("BUILD={}", root().join("target/sanitize/ffi-c").display())))
}

/// Rust's own library must be built with ThreadSanitizer: a thread that waits for a lock gets it in there, and unseen,
/// what the lock guards would be reported.
fn has_sources_of_library() -> Result<bool> {
    let sysroot = printed(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/Cargo.lock").exists())
}

fn thread() -> Result<()> {
    let mut tests = cargo(&["test", "-Zbuild-std", "--target", TARGET, "--package", "luacell", "--features", FEATURES]);
    tests.args(["--test", "threads"]).env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=thread");
    tests.env("CARGO_TARGET_DIR", root().join("target/sanitize/thread")).env("TSAN_OPTIONS", "halt_on_error=1");
    finish(&mut tests)
}

fn has_miri() -> bool {
    let version = Command::new("cargo").args(["+nightly", "miri", "--version"]).output();
    version.is_ok_and(|output| output.status.success())
}

fn miri() -> Result<()> {
    let mut tests = Command::new("cargo");
    tests.args(["+nightly", "miri", "test", "--package", "luacell-ffi", "--lib"]).current_dir(root());
    finish(tests.env("CARGO_TARGET_DIR", root().join("target/sanitize/miri")))
}
