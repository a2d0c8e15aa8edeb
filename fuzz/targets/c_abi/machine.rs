//! Which objects there are, and what every call has to keep to.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ptr::null_mut;

use luacell_ffi::error::*;
use luacell_ffi::outcome::*;
use luacell_ffi::pointers::luacell_bytes;
use luacell_ffi::run::*;
use luacell_ffi::sandbox::*;
use luacell_ffi::snapshot::*;
use luacell_ffi::status::{LUACELL_INTERNAL, LUACELL_OK, luacell_status, luacell_status_name};
use luacell_ffi::store::*;
use luacell_ffi::table::*;
use luacell_ffi::value::*;

use crate::op::{Op, Slot};

/// Objects of one kind.
pub struct Pool<T>(pub Vec<*mut T>, pub unsafe extern "C" fn(*mut T));

impl<T> Pool<T> {
    pub fn get(&self, slot: Slot) -> *mut T {
        match self.0.len() {
            0 => null_mut(),
            // A new one more often than an old one, and NULL at times.
            len if slot < 192 => self.0[len - 1 - slot as usize % len],
            len => self.0.get(slot as usize % (len + 1)).copied().unwrap_or(null_mut()),
        }
    }

    pub fn keep(&mut self, object: *mut T) {
        if object.is_null() {
            return;
        }
        if self.0.len() < 16 {
            self.0.push(object);
        } else {
            unsafe { (self.1)(object) }
        }
    }

    pub fn take(&mut self, slot: Slot) -> *mut T {
        let object = self.get(slot);
        self.0.retain(|kept| *kept != object);
        object
    }

    pub fn free(&mut self, slot: Slot) {
        let object = self.take(slot);
        unsafe { (self.1)(object) }
    }

    pub fn free_all(&mut self) {
        // Some from either end: no order may matter.
        let mut left: VecDeque<_> = std::mem::take(&mut self.0).into();
        while let Some(object) = left.pop_front() {
            unsafe { (self.1)(object) }
            if let Some(object) = left.pop_back() {
                unsafe { (self.1)(object) }
            }
        }
    }
}

pub struct Machine {
    pub ops: VecDeque<Op>,
    pub answers: VecDeque<u8>,
    /// How many host functions are being called. They must not free what calls around them may have been lent.
    pub depth: usize,
    pub values: Pool<luacell_value>,
    pub lists: Pool<luacell_values>,
    pub outcomes: Pool<luacell_outcome>,
    pub runs: Pool<luacell_run>,
    pub errors: Pool<luacell_error>,
    pub sandboxes: Pool<luacell_sandbox>,
    pub snapshots: Pool<luacell_snapshot>,
    pub stores: Pool<luacell_store>,
    pub interrupters: Pool<luacell_interrupter>,
    pub builders: Pool<luacell_table_builder>,
}

thread_local! {
    static MACHINE: RefCell<Machine> = const { RefCell::new(Machine {
        ops: VecDeque::new(),
        answers: VecDeque::new(),
        depth: 0,
        values: Pool(Vec::new(), luacell_value_free),
        lists: Pool(Vec::new(), luacell_values_free),
        outcomes: Pool(Vec::new(), luacell_outcome_free),
        runs: Pool(Vec::new(), luacell_run_free),
        errors: Pool(Vec::new(), luacell_error_free),
        sandboxes: Pool(Vec::new(), luacell_sandbox_free),
        snapshots: Pool(Vec::new(), luacell_snapshot_free),
        stores: Pool(Vec::new(), luacell_store_free),
        interrupters: Pool(Vec::new(), luacell_interrupter_free),
        builders: Pool(Vec::new(), luacell_table_builder_free),
    }) };
    /// Userdata that was handed over and not ended yet.
    pub static ALIVE: Cell<i64> = const { Cell::new(0) };
}

/// Never held across a call that may call back.
pub fn machine<R>(body: impl FnOnce(&mut Machine) -> R) -> R {
    MACHINE.with_borrow_mut(body)
}

macro_rules! object {
    ($pool:ident, $slot:expr) => {
        machine(|m| m.$pool.get($slot))
    };
}

/// Takes an object out of its pool before it is freed, which may call finalizers.
macro_rules! free {
    ($pool:ident, $slot:expr, $free:ident) => {{
        let object = machine(|m| m.$pool.take($slot));
        unsafe { $free(object) }
    }};
}

/// Calls something whose last argument is the place for an error.
macro_rules! call {
    ($function:ident($($arg:expr),*)) => {{
        let mut error: *mut luacell_error = null_mut();
        let status = unsafe { $function($($arg,)* &raw mut error) };
        checked(stringify!($function), status, error)
    }};
}

/// The same, for a new object; whether there is one.
macro_rules! made {
    ($pool:ident, $function:ident($($arg:expr),*)) => {{
        let mut object = null_mut();
        let made = call!($function($($arg,)* &raw mut object));
        if made {
            assert!(!object.is_null(), "{} gave nothing", stringify!($function));
            let mut surplus = None;
            machine(|m| if m.$pool.0.len() < 16 { m.$pool.0.push(object) } else { surplus = Some((object, m.$pool.1)) });
            if let Some((object, free)) = surplus {
                unsafe { free(object) }
            }
        } else {
            assert!(object.is_null(), "{} failed and wrote something", stringify!($function));
        }
        made
    }};
}

macro_rules! make {
    ($($call:tt)*) => {{
        made!($($call)*);
    }};
}

pub fn checked(name: &str, status: luacell_status, error: *mut luacell_error) -> bool {
    assert_ne!(status, LUACELL_INTERNAL, "{name}: {}", text_of(unsafe { luacell_error_message(error) }));
    assert_eq!(status == LUACELL_OK, error.is_null(), "{name}: the status {status} and the error don't fit");
    if !error.is_null() {
        assert!(!luacell_status_name(status).is_null(), "{name}: the status {status} has no name");
        assert_eq!(unsafe { luacell_error_status(error) }, status);
        let surplus = machine(|m| if m.errors.0.len() < 16 { m.errors.0.push(error); None } else { Some(error) });
        if let Some(error) = surplus {
            unsafe { luacell_error_free(error) }
        }
    }
    status == LUACELL_OK
}

pub fn text_of(bytes: luacell_bytes) -> String {
    String::from_utf8_lossy(read(bytes)).into_owned()
}

/// All of the bytes, so that a sanitizer sees whether they are there.
pub fn read<'a>(bytes: luacell_bytes) -> &'a [u8] {
    if bytes.data.is_null() {
        assert_eq!(bytes.len, 0);
        return &[];
    }
    let slice = unsafe { std::slice::from_raw_parts(bytes.data.cast::<u8>(), bytes.len) };
    std::hint::black_box(slice.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
    slice
}
