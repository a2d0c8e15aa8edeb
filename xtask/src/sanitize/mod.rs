//! `cargo xtask sanitize`: the tests again, with what compilers can watch. Instrumented builds have a folder of their own below `target/`.

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
    /// The guest's C as a native program with AddressSanitizer, UndefinedBehaviorSanitizer and Lua's assertions, on x86-64 Linux
    Guest,
}

/// Heap and globals only: a trap leaves frames behind, on stacks that fibers use again, and what is marked there would stay marked.
const WITHOUT_STACK: &str = "-Cllvm-args=-asan-stack=0";

/// The one whose sanitizers Rust's toolchains bring.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Crashes of the guest are signals that wasmtime handles.
const SIGNALS: &str = "allow_user_segv_handler=1:handle_segv=0:handle_sigill=0:handle_sigfpe=0:handle_sigbus=0";

/// The same for all, so that wasmtime is built once.
const FEATURES: &str = "luacell/async,luacell/hardened,luacell/jit,luacell/json,luacell/redis,luacell/testkit";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let root = root();
    let wanted = |what| args.what.is_empty() || args.what.contains(&what);
    if wanted(What::Guest) {
        guest::run(args.quick)?;
    }
    if wanted(What::Address) {
        address(root)?;
    }
    let can_run = |what, is_done: bool, missing: &str| {
        if is_done {
            return Ok(());
        }
        if args.what.contains(&what) {
            bail!("{missing}");
        }
        println!("left out: {missing}");
        Ok(())
    };
    if wanted(What::Thread) {
        let missing = "ThreadSanitizer needs the sources of Rust's library: rustup component add rust-src";
        can_run(What::Thread, thread(root)?, missing)?;
    }
    if wanted(What::Miri) {
        let missing = "no toolchain with Miri is installed: rustup toolchain install nightly --component miri";
        can_run(What::Miri, miri(root)?, missing)?;
    }
    Ok(())
}

/// cargo with a sanitizer, which a released compiler offers only when it is told that this is known to be unstable.
fn instrumented(root: &Path, sanitizer: &str, options: &str) -> Command {
    let mut command = cargo();
    command.current_dir(root).env("RUSTC_BOOTSTRAP", "1");
    command.env("RUSTC_WRAPPER", root.join("xtask/sanitize.sh"));
    command.env("LUACELL_SANITIZER", format!("-Zsanitizer={sanitizer} {options}"));
    command.env("CARGO_TARGET_DIR", root.join("target/sanitize").join(sanitizer));
    command
}

fn address(root: &Path) -> Result<()> {
    let mut tests = instrumented(root, "address", WITHOUT_STACK);
    tests.args(["test", "--target", TARGET, "--package", "luacell", "--features", FEATURES, "--lib", "--tests"]);
    // Hundreds of processes, each of which starts slowly.
    tests.args(["--", "--skip", "killed_"]);
    finish(tests.env("ASAN_OPTIONS", SIGNALS))?;

    let mut library = instrumented(root, "address", WITHOUT_STACK);
    library.args(["test", "--target", TARGET, "--package", "luacell-ffi", "--features", FEATURES, "--lib"]);
    finish(library.env("ASAN_OPTIONS", SIGNALS))?;
    // Without a runtime in it: the program that loads it has one.
    let mut shared = instrumented(root, "address", &format!("{WITHOUT_STACK} -Zexternal-clangrt"));
    shared.args(["build", "--target", TARGET, "--package", "luacell-ffi", "--features", FEATURES]);
    finish(&mut shared)?;
    let built = root.join("target/sanitize/address").join(TARGET).join("debug");
    let mut programs = Command::new("make");
    programs.arg("-C").arg(root.join("ffi-c")).args(["test-api", "test-corpus", "SANITIZE=1"]);
    programs.arg(format!("LIBRARY={}", built.display()));
    programs.arg(format!("BUILD={}", root.join("target/sanitize/ffi-c").display()));
    finish(&mut programs)
}

/// Whether it could run. Rust's own library must be built with it: a thread that waits for a lock gets it in there, and unseen, what the
/// lock guards would be reported.
fn thread(root: &Path) -> Result<bool> {
    let sysroot = printed(Command::new("rustc").args(["--print", "sysroot"]))?;
    if !Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/Cargo.lock").exists() {
        return Ok(false);
    }
    let mut tests = cargo();
    tests.current_dir(root).env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=thread");
    tests.env("CARGO_TARGET_DIR", root.join("target/sanitize/thread")).env("TSAN_OPTIONS", "halt_on_error=1");
    tests.args([
        "test",
        "-Zbuild-std",
        "--target",
        TARGET,
        "--package",
        "luacell",
        "--features",
        FEATURES,
        "--test",
        "threads",
    ]);
    finish(&mut tests)?;
    Ok(true)
}

/// Whether it could run.
fn miri(root: &Path) -> Result<bool> {
    let there = Command::new("cargo").args(["+nightly", "miri", "--version"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        return Ok(false);
    }
    let mut tests = Command::new("cargo");
    tests.args(["+nightly", "miri", "test", "--package", "luacell-ffi", "--lib"]).current_dir(root);
    finish(tests.env("CARGO_TARGET_DIR", root.join("target/sanitize/miri")))?;
    Ok(true)
}
