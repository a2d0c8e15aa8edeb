//! Functions and stored tables that JavaScript holds, by number.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use luacell::wire::Peer;
use luacell::{Error, Function, StoredTable};

use crate::slots::Slots;

/// What JavaScript holds of one sandbox.
pub(crate) struct Handles {
    functions: Mutex<Slots<Function>>,
    /// By their ids: JavaScript has one view of each.
    tables: Mutex<HashMap<u32, StoredTable>>,
    /// Errors of runs that host functions started: they pass through to the outer run when the function throws them.
    nested: Mutex<Vec<Error>>,
    /// How many host functions are running on JavaScript's thread.
    depth: AtomicU32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handles {
    pub(crate) fn new() -> Self {
        Handles {
            functions: Mutex::new(Slots::new()),
            tables: Mutex::default(),
            nested: Mutex::default(),
            depth: AtomicU32::new(0),
        }
    }

    pub(crate) fn release_function(&self, number: u32) {
        // Dropped after the lock is.
        let _function = lock(&self.functions).give_up(number);
    }

    pub(crate) fn release_table(&self, id: u32) {
        let _table = lock(&self.tables).remove(&id);
    }

    /// All tables are others now.
    pub(crate) fn forget_tables(&self) {
        let _tables = std::mem::take(&mut *lock(&self.tables));
    }

    /// Runs a host function.
    pub(crate) fn within<T>(&self, call: impl FnOnce() -> T) -> T {
        self.depth.fetch_add(1, Ordering::Relaxed);
        let result = call();
        if self.depth.fetch_sub(1, Ordering::Relaxed) == 1 {
            lock(&self.nested).clear();
        }
        result
    }

    /// Keeps an error that a host function may pass on; its number.
    pub(crate) fn keep_error(&self, error: &Error) -> Option<u32> {
        if self.depth.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut nested = lock(&self.nested);
        nested.push(error.clone());
        Some((nested.len() - 1) as u32)
    }

    pub(crate) fn error(&self, number: u32) -> Option<Error> {
        lock(&self.nested).get(number as usize).cloned()
    }
}

impl Peer for Handles {
    fn keep_function(&self, function: &Function) -> u32 {
        lock(&self.functions).keep(function.clone())
    }

    fn function(&self, number: u32) -> Option<Function> {
        lock(&self.functions).get(number)
    }

    /// Its id.
    fn keep_table(&self, table: &StoredTable) -> u32 {
        let id = table.id();
        lock(&self.tables).entry(id).or_insert_with(|| table.clone());
        id
    }

    fn table(&self, id: u32) -> Option<StoredTable> {
        lock(&self.tables).get(&id).cloned()
    }
}
