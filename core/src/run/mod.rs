//! A sandbox between its runs, and a run from its start to its end.

pub(crate) mod access;
mod at_work;
pub(crate) mod cancel;
mod commit;
pub(crate) mod copy_table;
#[cfg(feature = "async")]
pub(crate) mod driven;
mod id_reclaim;
pub(crate) mod inputs;
pub(crate) mod lifecycle;
pub(crate) mod limits;
mod nested;
mod results;
mod sandbox_cell;
pub(crate) mod started;
mod state;
pub mod threads;
mod transaction;
mod undo;
mod weight;

pub use self::cancel::{Canceller, Interrupter};
pub(crate) use self::sandbox_cell::SandboxCell;
pub(crate) use self::state::{Instance, SandboxSettings, SandboxState};
pub(crate) use self::transaction::OpenTransaction;
pub use self::weight::memory_in_use;
