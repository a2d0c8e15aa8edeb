//! What belongs to one process.

use std::sync::OnceLock;

/// Something of which each process has its own. One that came from a fork has none of its parent's threads, and some of them may have held locks in it.
pub(crate) struct PerProcess<T> {
    process: u32,
    value: T,
    /// That of a process that came from this one.
    next: OnceLock<Box<PerProcess<T>>>,
}

impl<T> PerProcess<T> {
    /// Of no process.
    pub(crate) const fn new(value: T) -> Self {
        PerProcess { process: 0, value, next: OnceLock::new() }
    }

    /// That of this process.
    pub(crate) fn get(&'static self, make: fn() -> T) -> &'static T {
        let process = std::process::id();
        let mut own = self;
        while own.process != process {
            own = own.next.get_or_init(|| Box::new(PerProcess { process, value: make(), next: OnceLock::new() }));
        }
        &own.value
    }
}
