//! How the guest is executed: what the rest of the crate needs of that, and two ways to do it.
//!
//! `wasm` runs a module on wasmtime: as machine code that was compiled ahead of time or, with the feature `pulley`, interpreted. `translated`,
//! with the feature `static`, is the guest as C code inside this library. The choice is made when the crate is compiled, so that
//! calls of a [`Machine`] cost nothing by themselves.

pub(crate) mod exports;
#[cfg(test)]
mod tests;
pub(crate) mod told;
#[cfg(feature = "static")]
mod translated;
#[cfg(not(feature = "static"))]
mod wasm;
#[cfg(any(not(feature = "static"), feature = "hardened"))]
mod watchdog;

use std::sync::OnceLock;

use self::told::Told;
#[cfg(feature = "static")]
pub(crate) use self::translated::{Answer, At, Machines, Owned, Params};
#[cfg(not(feature = "static"))]
pub(crate) use self::wasm::{Answer, At, Machines, Owned, Params};
use crate::Result;
use crate::host::Host;

/// The SHA-256 of a `lua.wasm`.
pub(crate) type GuestId = [u8; 32];

/// The SHA-256 of our guest, as it is before it is compiled or translated.
pub(crate) static GUEST_ID: &GuestId = include_bytes!(concat!(env!("OUT_DIR"), "/guest.sha256"));

/// A guest that somebody has at hand: from outside, or inside a host function that it called.
pub(crate) trait Machine {
    /// What the host keeps with it.
    fn data(&self) -> &Data;

    fn data_mut(&mut self) -> &mut Data;

    /// All of the guest's memory, as large as it is at this moment.
    fn memory(&self) -> Result<&[u8]>;

    fn memory_and_data(&mut self) -> Result<(&mut [u8], &mut Data)>;

    /// Makes the memory larger by so many pages of wasm's.
    fn grow(&mut self, pages: u64) -> Result<()>;

    /// Whether the guest has that export.
    fn offers(&self, export: Export) -> bool;

    /// Calls an export. When it does not return, the error is fatal.
    fn call<P: Params, R: Answer>(&mut self, export: Export, params: P) -> Result<R>;

    /// The next number that the guest would give a table; asked after each run.
    #[inline]
    fn next_table_id(&mut self) -> Result<i32> {
        self.call(Export::allocate_table_ids, (0,))
    }

    /// Calls one of those exports that run scripts.
    fn execute(&mut self, entry: Entry) -> Result<i32>;

    /// What is the same in every guest of this kind.
    fn facts(&self) -> &Facts;
}

macro_rules! export_names {
    ($($name:ident($($param:ident: $type:ty),*) $(-> $result:ty)?;)+) => {
        /// A function of the guest, named as it is there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(non_camel_case_types, reason = "these are the guest's names")]
        pub(crate) enum Export {
            $($name,)+
        }

        impl Export {
            const NAMES: &[&str] = &[$(stringify!($name)),+];
        }
    };
}

exports::for_each_export!(export_names);

/// A run of the guest that is ready to begin: what it needs lies in the buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry {
    Compute { len: i32 },
    ComputeNamed { name_len: i32, code_len: i32, args_len: i32 },
    Call { path_len: i32, args_len: i32 },
    CallHandle { handle: i32, args_len: i32 },
    RegisterFunction { name_len: i32, id: i32 },
    UnregisterFunction { name_len: i32, id: i32 },
}

/// What the host keeps with a guest.
pub(crate) struct Data {
    pub(crate) host: Host,
    pub(crate) told: Told,
    /// Where the guest's I/O buffer is.
    pub(crate) buffer: Buffer,
    pub(crate) revision: u32,
    /// The most that the guest's memory may grow to, in bytes.
    pub(crate) max_memory: usize,
    /// Where the guest keeps the metrics of its last run; 0 for nowhere.
    pub(crate) metrics: u32,
    #[cfg(not(feature = "static"))]
    own: wasm::Own,
}

/// Where a guest's I/O buffer is. Both numbers come from the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Buffer {
    pub(crate) ptr: u32,
    pub(crate) size: u32,
}

/// What is the same in every guest of a kind.
pub(crate) struct Facts {
    /// Whether it begins with `init` behind it and our settings made: it is ours then.
    pub(crate) ready: bool,
    /// What a guest that is ready need not be asked for, once known.
    pub(crate) known: OnceLock<Known>,
}

#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) buffer: Buffer,
    pub(crate) revision: u32,
    pub(crate) metrics: u32,
}

/// Why there is no instance, and the host that it was meant for.
pub(crate) struct NotStarted {
    pub(crate) error: crate::Error,
    pub(crate) host: Host,
    /// The pool has no room at this moment.
    #[cfg(not(feature = "static"))]
    pub(crate) exhausted: bool,
}
