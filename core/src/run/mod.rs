//! A sandbox between its runs, and a run from its start to its end.

pub(crate) mod access;
pub(crate) mod cancel;
mod cell;
mod commit;
pub(crate) mod copy_table;
pub(crate) mod entries;
#[cfg(feature = "async")]
pub(crate) mod future;
pub(crate) mod lifecycle;
pub(crate) mod limits;
mod locked;
mod nested;
mod numbers;
mod results;
mod state;
pub mod threads;
mod transaction;
mod undo;
mod weight;

pub use self::cancel::{Canceller, Interrupter};
pub(crate) use self::cell::SandboxCell;
pub(crate) use self::state::{Instance, SandboxSettings, SandboxState};
pub(crate) use self::transaction::OpenTransaction;
pub use self::weight::memory_in_use;
