//! What the Swift package and the Kotlin artifact of luacell are generated from.
//!
//! Everything public here crosses the language border through UniFFI; the comments become the documentation in both
//! languages. What scripts may do, how values convert and which errors there are is the crate luacell's business: here
//! it is only mapped.

#![allow(unsafe_code, reason = "UniFFI's macros make exported functions; nothing unsafe is written by hand here")]
#![allow(
    clippy::result_large_err,
    reason = "an error crosses the border by value, with everything that is known about it"
)]

mod config;
mod engine;
mod error;
mod function;
mod host;
mod job;
mod run;
mod sandbox;
mod snapshot;
mod store;
mod stored;
mod table;
mod value;
mod waiting;

pub use config::{Limits, RunOptions, SandboxConfig};
pub use engine::{Engine, EngineConfig};
pub use error::{ErrorDetails, ErrorKind, LuaError, PassingError};
pub use function::LuaFunction;
pub use host::{HostError, HostFailure, HostFunction, ModuleSource, Printer};
pub use job::Canceller;
pub use run::{PendingRun, Request, Run};
pub use sandbox::{MemoryStats, Metrics, Outcome, Sandbox, memory_in_use};
pub use snapshot::Snapshot;
pub use store::TableStore;
pub use stored::StoredTable;
pub use table::{LuaTable, NodeEntry, NodeValue, TableNode};
pub use value::{LuaEntry, LuaValue};
pub use waiting::{AsyncHostFunction, HostCall, HostTask, HostTasks};

uniffi::setup_scaffolding!("luacell");
