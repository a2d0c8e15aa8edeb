//! How the guest is executed: what the rest of the crate needs for that, and two ways to do it.
//!
//! `wasm` runs a module on wasmtime: as machine code that was compiled ahead of time or, with the feature `pulley`,
//! interpreted. `translated`, with the feature `static`, is the guest as C code inside this library. The choice is made
//! when the crate is compiled, so that calls of a [`Machine`] cost nothing by themselves.

mod config;
pub(crate) mod exports;
mod imports;
pub(crate) mod preset;
pub(crate) mod thread_stack;
#[cfg(feature = "static")]
mod translated;
#[cfg(not(feature = "static"))]
mod wasm;
#[cfg(not(feature = "static"))]
mod wasm_config;
#[cfg(any(not(feature = "static"), feature = "hardened"))]
mod watchdog;

pub use self::config::EngineConfig;
pub(crate) use self::imports::Imports;
#[cfg(feature = "static")]
pub(crate) use self::translated::{Answer, At, Machines, Owned, Params};
#[cfg(not(feature = "static"))]
pub(crate) use self::wasm::{Answer, At, Machines, Owned, Params};
use crate::value::{Error, Result};

/// The SHA-256 of a `lua.wasm`.
pub(crate) type GuestId = [u8; 32];

/// The SHA-256 of our guest, as it is before it is compiled or translated.
pub(crate) static GUEST_ID: &GuestId = include_bytes!(concat!(env!("OUT_DIR"), "/guest.sha256"));

/// A guest that somebody has at hand: from outside, or inside a host function that it called.
pub(crate) trait Machine<I: Imports> {
    fn data(&self) -> &Data<I>;

    fn data_mut(&mut self) -> &mut Data<I>;

    /// All of the guest's memory, as large as it is at this moment.
    fn memory(&self) -> Result<&[u8]>;

    fn memory_and_data(&mut self) -> Result<(&mut [u8], &mut Data<I>)>;

    /// Makes the memory larger by so many pages of wasm's.
    fn grow(&mut self, pages: u64) -> Result<()>;

    /// Whether the guest has that export.
    fn offers(&self, export: Export) -> bool;

    /// Calls an export. When it does not return, the error is fatal.
    fn call<P: Params, R: Answer>(&mut self, export: Export, params: P) -> Result<R>;

    /// Calls one of those exports that run scripts.
    fn execute(&mut self, entry: Entry) -> Result<i32>;
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
    Compute {
        ptr: i32,
        len: i32,
    },
    ComputeNamed {
        name_len: i32,
        code_len: i32,
        args_len: i32,
    },
    Call {
        path_len: i32,
        args_len: i32,
    },
    CallHandle {
        handle: i32,
        args_len: i32,
    },
    RegisterFunction {
        name_len: i32,
        id: i32,
    },
    UnregisterFunction {
        name_len: i32,
        id: i32,
    },
    /// A run that waits goes on with the answers in the buffer.
    Resume {
        len: i32,
    },
}

/// What is kept with a guest.
pub(crate) struct Data<I: Imports> {
    /// For who uses the machine.
    pub(crate) imports: I,
    /// The most that the guest's memory may grow to, in bytes.
    pub(crate) max_memory: usize,
    #[cfg(not(feature = "static"))]
    own: wasm::Own<I>,
}

/// Why there is no instance, and what it was meant for.
pub(crate) struct NotStarted<I> {
    pub(crate) error: Error,
    pub(crate) imports: I,
    /// The pool has no room at this moment.
    #[cfg(not(feature = "static"))]
    pub(crate) exhausted: bool,
}
