//! A sandbox between its runs, and a run from its start to its end.

pub(crate) mod access;
#[cfg(feature = "async")]
pub(crate) mod async_run;
mod at_work;
pub(crate) mod cancel;
mod commit;
pub(crate) mod copy_table;
pub(crate) mod durable;
mod host_transaction;
mod id_reclaim;
pub(crate) mod inputs;
pub(crate) mod lifecycle;
pub(crate) mod limits;
mod nested;
mod results;
pub(crate) mod retry;
mod sandbox_cell;
mod state;
pub mod threads;
mod turn;
mod undo;
pub(crate) mod waiting_run;
mod weight;

pub use self::cancel::{Canceller, Interrupter};
pub(crate) use self::host_transaction::OpenTransaction;
pub(crate) use self::sandbox_cell::SandboxCell;
pub(crate) use self::state::{Instance, SandboxSettings, SandboxState};
pub use self::weight::memory_in_use;
