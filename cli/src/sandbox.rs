//! From options to a sandbox.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use luacell::{Engine, EngineConfig, Error, Folder, Interrupter, ModuleResolver, Resolved, Sandbox, SandboxConfig};

use crate::args::SandboxArgs;
use crate::failure::Failure;
use crate::home::{self, Use};
use crate::output;

/// Where printed text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printed {
    ToStdout,
    /// Standard output is for something else.
    ToStderr,
}

/// A sandbox with these settings. What its scripts print appears at once.
pub fn open(args: &SandboxArgs, printed: Printed) -> Result<Sandbox, Failure> {
    open_with(args, printed, Use::Make)
}

/// As `open`, with the store for this.
pub fn open_with(args: &SandboxArgs, printed: Printed, how: Use) -> Result<Sandbox, Failure> {
    let raw = args.raw;
    let print = move |text: &[u8]| {
        // A script can't do anything about a stream that is gone.
        let _ = match printed {
            Printed::ToStdout => output::script_text(text, raw),
            Printed::ToStderr => output::script_text_aside(text, raw),
        };
    };
    // Who runs a script by hand sees what it does, and has Ctrl-C.
    let mut config = SandboxConfig::new().timeout(args.timeout).output_limit(u64::MAX).on_print(print);
    if let Some(bytes) = args.memory {
        config = config.memory_limit(bytes);
    }
    if let Some(instructions) = args.instructions {
        config = config.instruction_limit(instructions);
    }
    if !args.module_path.is_empty() {
        config = config.modules(Folders(args.module_path.iter().map(Folder::new).collect()));
    }
    if let Some(seed) = args.seed {
        config = config.deterministic(seed);
    }
    if let Some(home) = &args.home {
        config = home::store_for(config, home, how)?.stored_functions(!args.no_stored_functions);
    }
    // A process with one sandbox has no use for a pool.
    let sandbox = Engine::new(EngineConfig::new().pool_size(0))?.sandbox(config).map_err(|error| match &args.home {
        Some(home) => home::no_store(home, error),
        None => error.into(),
    })?;
    interrupt_on_ctrl_c(sandbox.interrupter());
    Ok(sandbox)
}

/// Folders, one after the other.
struct Folders(Vec<Folder>);

impl ModuleResolver for Folders {
    fn resolve(&self, name: &str) -> Result<Resolved, Error> {
        let mut places = Vec::new();
        for folder in &self.0 {
            match folder.resolve(name)? {
                Resolved::Missing(tried) => places.push(tried),
                found => return Ok(found),
            }
        }
        Ok(Resolved::Missing(places.join("\n")))
    }
}

/// The first Ctrl-C of a run ends the script; a second one, should that take long, the program.
fn interrupt_on_ctrl_c(interrupter: Interrupter) {
    let sleeping = thread::current();
    let handler = move || {
        if PRESSED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        interrupter.interrupt();
        sleeping.unpark();
    };
    // Without a handler Ctrl-C ends the program, as it does everywhere.
    let _ = ctrlc::set_handler(handler);
}

/// Sleeps, on the thread that has opened the sandbox, until Ctrl-C at most.
pub fn sleep(time: Duration) {
    let begun = Instant::now();
    while !PRESSED.load(Ordering::SeqCst) {
        let left = time.saturating_sub(begun.elapsed());
        if left.is_zero() {
            break;
        }
        thread::park_timeout(left);
    }
}

static PRESSED: AtomicBool = AtomicBool::new(false);

/// A run begins.
pub fn forget_ctrl_c() {
    PRESSED.store(false, Ordering::SeqCst);
}
