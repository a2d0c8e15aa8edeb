//! A sandbox between its runs, and a run from its start to its end.

pub(crate) mod access;
mod access_lock;
pub(crate) mod cancel;
mod commit;
pub(crate) mod copy_table;
#[cfg(feature = "async")]
pub(crate) mod future;
pub(crate) mod inputs;
pub(crate) mod lifecycle;
pub(crate) mod limits;
mod lock_guard;
mod nested;
mod results;
mod state;
mod table_ids;
pub mod threads;
mod transaction;
mod undo;
mod weight;

pub(crate) use self::access_lock::SandboxCell;
pub use self::cancel::{Canceller, Interrupter};
pub(crate) use self::state::{Instance, SandboxSettings, SandboxState};
pub(crate) use self::transaction::OpenTransaction;
pub use self::weight::memory_in_use;
