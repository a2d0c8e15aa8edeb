//! The guest as C code: wasm2c has translated it, and it is a part of this library. It needs no memory that becomes
//! executable.
//!
//! All unsafe code of this crate that deals with it is in this module. Three rules keep it sound:
//!
//! - The guest's code, and what `runtime.c` adds to it, touches nothing but its own memory and its `luacell_machine`.
//!   Each access to memory either lands in address space that is reserved for it, or is checked.
//! - When the guest crashes, C's `longjmp` leaves its frames behind. No frame of Rust's is ever among them: Rust calls
//!   the guest only through `machine_call`, where such a jump ends, and the guest calls Rust only through the functions
//!   in [`hooks`], which have returned before anybody jumps. They let no panic out either: it is held back until the
//!   guest has been left, and then goes on.
//! - While the guest runs, the [`Cell`] belongs to the code that it calls: the pointer that C hands back is made from
//!   the exclusive borrow that waits until the call has ended.

#![allow(unsafe_code, reason = "calls of C; each says why it is sound")]

mod ffi;
mod hooks;
mod machines;
mod params;
mod raw;

use std::any::Any;
use std::panic::resume_unwind;
use std::sync::Arc;

use self::ffi::code;
use self::machines::Blueprint;
pub(crate) use self::machines::Machines;
pub(crate) use self::params::{Answer, Params};
use self::raw::Raw;
use super::{Data, Entry, Export, Imports, Machine};
#[cfg(feature = "hardened")]
use super::{watchdog::Stopped, watchdog::Watchdog};
use crate::value::{Error, ErrorKind, Result};

/// A guest with its host.
struct Cell<I: Imports> {
    data: Data<I>,
    raw: Raw,
    blueprint: Arc<Blueprint>,
    /// A panic that waits for the guest to be left.
    panic: Option<Box<dyn Any + Send>>,
    #[cfg(feature = "hardened")]
    watchdog: Option<Watchdog>,
    /// Why the watchdog wants the guest to be left.
    #[cfg(feature = "hardened")]
    stopped: Option<Stopped>,
}

/// An instance.
pub(crate) struct Owned<I: Imports> {
    cell: Cell<I>,
}

impl<I: Imports> Owned<I> {
    #[inline]
    pub(crate) fn at(&mut self) -> At<'_, I> {
        At(&mut self.cell)
    }

    #[inline]
    pub(crate) fn data(&self) -> &Data<I> {
        &self.cell.data
    }

    #[inline]
    pub(crate) fn data_mut(&mut self) -> &mut Data<I> {
        &mut self.cell.data
    }

    /// Ends the instance and gives back what outlives it.
    pub(crate) fn into_imports(self) -> I {
        self.cell.data.imports
    }
}

/// An instance that somebody has at hand.
pub(crate) struct At<'a, I: Imports>(&'a mut Cell<I>);

impl<I: Imports> At<'_, I> {
    #[inline]
    pub(crate) fn reborrow(&mut self) -> At<'_, I> {
        At(self.0)
    }

    /// Calls an export.
    #[inline]
    fn enter(&mut self, export: Export, words: [u32; 3]) -> Result<u32> {
        #[cfg(feature = "hardened")]
        if let Some(watchdog) = &mut self.0.watchdog {
            watchdog.enter();
        }
        let [a, b, c] = words;
        let mut result = 0;
        let Raw { machine, api, .. } = self.0.raw;
        let host: *mut Cell<I> = self.0;
        // SAFETY: the machine is alive and this thread has it alone. Its hooks take a pointer to a cell; they use it
        // only until this call ends, in which time nothing here does.
        let code = unsafe { (api.machine_call)(machine.as_ptr(), host.cast(), export as u32, a, b, c, &mut result) };
        #[cfg(feature = "hardened")]
        if let Some(watchdog) = &mut self.0.watchdog {
            watchdog.leave();
        }
        if code == code::DONE { Ok(result) } else { Err(self.left(code)) }
    }

    /// The guest did not return.
    #[cold]
    fn left(&mut self, code: i32) -> Error {
        if code == code::HOST_PANIC
            && let Some(panic) = self.0.panic.take()
        {
            resume_unwind(panic);
        }
        #[cfg(feature = "hardened")]
        if let Some(stopped) = self.0.stopped.take() {
            return Error::new(stopped.0, stopped.to_string()).fatal();
        }
        trap(code)
    }
}

impl<I: Imports> Machine<I> for At<'_, I> {
    #[inline]
    fn data(&self) -> &Data<I> {
        &self.0.data
    }

    #[inline]
    fn data_mut(&mut self) -> &mut Data<I> {
        &mut self.0.data
    }

    #[inline]
    fn memory(&self) -> Result<&[u8]> {
        Ok(self.0.raw.memory())
    }

    #[inline]
    fn memory_and_data(&mut self) -> Result<(&mut [u8], &mut Data<I>)> {
        Ok((self.0.raw.memory_mut(), &mut self.0.data))
    }

    fn grow(&mut self, pages: u64) -> Result<()> {
        if self.0.raw.grow(pages, self.0.data.max_memory as u64) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Memory, "not enough memory for the sandbox").fatal())
    }

    #[inline]
    fn offers(&self, _: Export) -> bool {
        // It would not have been translated otherwise.
        true
    }

    #[inline]
    fn call<P: Params, R: Answer>(&mut self, export: Export, params: P) -> Result<R> {
        self.enter(export, params.words()).map(R::of)
    }

    #[inline]
    fn execute(&mut self, entry: Entry) -> Result<i32> {
        match entry {
            Entry::Compute { ptr, len } => self.call(Export::compute, (ptr, len)),
            Entry::ComputeNamed { name_len, code_len, args_len } => {
                self.call(Export::compute_named, (name_len, code_len, args_len))
            }
            Entry::Call { path_len, args_len } => self.call(Export::call, (path_len, args_len)),
            Entry::CallHandle { handle, args_len } => self.call(Export::call_handle, (handle, args_len)),
            Entry::RegisterFunction { name_len, id } => self.call(Export::register_function, (name_len, id)),
            Entry::UnregisterFunction { name_len, id } => self.call(Export::unregister_function, (name_len, id)),
            Entry::Resume { len } => self.call(Export::resume, (len,)),
        }
    }
}

/// What it means that the guest was left in the middle.
#[cold]
fn trap(code: i32) -> Error {
    let why = match code {
        code::OUT_OF_BOUNDS => "out of bounds memory access",
        code::STACK => "call stack exhausted",
        code::UNREACHABLE => "`unreachable` instruction executed",
        code::BAD_CALL => "an indirect call of no function, or of one with another type",
        code::ARITHMETIC => "an integer division or conversion without a result",
        _ => "for an unknown reason",
    };
    Error::new(ErrorKind::Trap, format!("the guest crashed: wasm trap: {why}")).fatal()
}
