//! The files that this process has open, so that it opens each of them once.

use std::sync::{Mutex, OnceLock, Weak};

use super::shared::Shared;

type Files = Mutex<Vec<Weak<Shared>>>;

/// The files of a process. One that came from a fork has a list of its own: what its parent had open is not open in it, and some thread of the parent may have held
/// the list's lock.
struct Registry {
    process: u32,
    files: Files,
    /// That of a process that came from this one.
    next: OnceLock<Box<Registry>>,
}

impl Registry {
    const fn new(process: u32) -> Self {
        Registry { process, files: Mutex::new(Vec::new()), next: OnceLock::new() }
    }
}

/// Of no process.
static FIRST: Registry = Registry::new(0);

pub(super) fn of_this_process() -> &'static Files {
    let process = std::process::id();
    let mut registry = &FIRST;
    while registry.process != process {
        registry = registry.next.get_or_init(|| Box::new(Registry::new(process)));
    }
    &registry.files
}
