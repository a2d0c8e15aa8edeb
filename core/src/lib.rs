//! luacell runs untrusted Lua 5.4 inside any program.
//!
//! ```no_run
//! # fn main() -> Result<(), luacell::Error> {
//! let sandbox = luacell::Sandbox::new()?;
//! let outcome = sandbox.compute("return 1 + 1")?;
//! assert_eq!(outcome.get::<i64>()?, 2);
//! # Ok(())
//! # }
//! ```

mod engine;
mod error;
mod metrics;
mod sandbox;
mod store;
mod value;

pub use engine::{Engine, EngineConfig};
pub use error::{Error, ErrorKind, Result};
pub use metrics::{MemoryStats, Metrics};
pub use sandbox::{ComputeOptions, Home, Outcome, Sandbox, SandboxConfig, StoredTable};
pub use store::{MemoryStore, TableStore};
pub use value::{FromValue, Function, IntoArgs, LuaString, Table, Value};
