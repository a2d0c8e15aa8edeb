//! Functions and stored tables that JavaScript holds, by number.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use luacell::wire;
use luacell::{Error, Function, Object, StoredTable};

use crate::bridge::Bridge;
use crate::callables;
use crate::slots::Slots;

/// What JavaScript holds of one sandbox.
pub(crate) struct Handles {
    /// To JavaScript, whose own functions and objects have numbers there; `None` where there can't be any.
    bridge: Option<Arc<Bridge>>,
    functions: Mutex<Functions>,
    /// By their ids: JavaScript has one view of each.
    tables: Mutex<HashMap<u32, StoredTable>>,
    /// Errors of runs that host functions started: they pass through to the outer run when the function throws them.
    passable: Mutex<PassableErrors>,
    /// How many host functions are running on JavaScript's thread.
    depth: AtomicU32,
}

/// A function has one number, however often it goes to JavaScript, and goes when it was given back as often.
#[derive(Default)]
struct Functions {
    slots: Slots<(Function, u32)>,
    numbers: HashMap<Function, u32>,
}

/// Errors by number. The core keeps errors too, for one run (`host_errors.rs`), and then starts again at 1. Here a
/// number means one error for good, because JavaScript may hold on to what it stands for. A script can make any number
/// of them, so the earliest are let go.
#[derive(Default)]
struct PassableErrors {
    list: VecDeque<(Error, usize)>,
    bytes: usize,
    /// The number of the first.
    first: u32,
}

impl PassableErrors {
    const MOST: usize = 256;
    const MOST_BYTES: usize = 1 << 20;

    fn drop_first(&mut self) {
        if let Some((_, bytes)) = self.list.pop_front() {
            self.bytes -= bytes;
            self.first = self.first.wrapping_add(1);
        }
    }

    fn keep(&mut self, error: &Error) -> u32 {
        let bytes = error.message().len() + error.traceback().map_or(0, str::len) + error.output().as_bytes().len();
        self.list.push_back((error.clone(), bytes));
        self.bytes += bytes;
        while self.list.len() > 1 && (self.list.len() > Self::MOST || self.bytes > Self::MOST_BYTES) {
            self.drop_first();
        }
        self.first.wrapping_add(self.list.len() as u32 - 1)
    }

    fn get(&self, number: u32) -> Option<Error> {
        self.list.get(number.wrapping_sub(self.first) as usize).map(|(error, _)| error.clone())
    }

    fn clear(&mut self) {
        while !self.list.is_empty() {
            self.drop_first();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handles {
    pub(crate) fn new(bridge: Option<&Arc<Bridge>>) -> Self {
        Handles {
            bridge: bridge.cloned(),
            functions: Mutex::default(),
            tables: Mutex::default(),
            passable: Mutex::default(),
            depth: AtomicU32::new(0),
        }
    }

    pub(crate) fn release_function(&self, number: u32, times: u32) {
        let mut functions = lock(&self.functions);
        let Functions { slots, numbers } = &mut *functions;
        let Some((_, count)) = slots.get_mut(number) else { return };
        *count = count.saturating_sub(times);
        if *count == 0
            && let Some((function, _)) = slots.give_up(number)
        {
            let known = numbers.remove_entry(&function);
            // Dropped after the lock is.
            drop(functions);
            drop((function, known));
        }
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
            lock(&self.passable).clear();
        }
        result
    }

    /// Keeps an error that a host function may pass on; its number.
    pub(crate) fn keep_error(&self, error: &Error) -> Option<u32> {
        if self.depth.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(lock(&self.passable).keep(error))
    }

    /// `None` when it was let go.
    pub(crate) fn error(&self, number: u32) -> Option<Error> {
        lock(&self.passable).get(number)
    }
}

impl wire::Handles for Handles {
    fn keep_function(&self, function: &Function) -> u32 {
        let mut functions = lock(&self.functions);
        let Functions { slots, numbers } = &mut *functions;
        if let Some(number) = numbers.get(function)
            && let Some((_, count)) = slots.get_mut(*number)
        {
            *count = count.saturating_add(1);
            return *number;
        }
        let number = slots.keep((function.clone(), 1));
        numbers.insert(function.clone(), number);
        number
    }

    fn function(&self, number: u32) -> Option<Function> {
        lock(&self.functions).slots.get(number).map(|(function, _)| function)
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

    fn own_number(&self, function: &Function) -> Option<u32> {
        callables::number(function)
    }

    fn own_function(&self, number: u32) -> Option<Function> {
        self.bridge.as_ref().map(|bridge| callables::to_lua(bridge, number))
    }

    fn own_object_number(&self, object: &Object) -> Option<u32> {
        callables::own_object(object).map(|object| object.number)
    }

    fn own_object(&self, number: u32, class: u32) -> Option<Object> {
        callables::object_to_lua(self.bridge.as_ref()?, number, class)
    }
}
