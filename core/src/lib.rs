//! luacell runs untrusted Lua 5.4 inside any program.
//!
//! ```
//! use luacell::{ComputeOptions, Sandbox};
//!
//! # fn main() -> Result<(), luacell::Error> {
//! let sandbox = Sandbox::new()?;
//! assert_eq!(sandbox.compute("return 1 + 1")?.get::<i64>()?, 2);
//!
//! // Arguments, several results, printed text.
//! let options = ComputeOptions::new().name("=sums").args((3, 4.5));
//! let outcome = sandbox.compute_with("print('adding') local a, b = ... return a + b, a * b", options)?;
//! assert_eq!(outcome.values, [7.5.into(), 13.5.into()]);
//! assert_eq!(outcome.output, "adding\n");
//!
//! // `_home` is kept, and the host sees it too.
//! sandbox.compute("_home.player = {name = 'Ada', level = 3}")?;
//! let player = sandbox.home().get("player")?;
//! assert_eq!(player.as_stored_table().unwrap().get("level")?.as_integer(), Some(3));
//!
//! // Errors carry everything that is known.
//! let error = sandbox.compute_with("local t = nil\nreturn t.x", ComputeOptions::new().name("=demo")).unwrap_err();
//! assert_eq!(error.kind(), luacell::ErrorKind::Runtime);
//! assert_eq!(error.message(), "demo:2: attempt to index a nil value (local 't')");
//! assert_eq!(error.line(), Some(2));
//! # Ok(())
//! # }
//! ```
//!
//! - [`Engine`]: the compiled guest and a pool of instances, shared by everything in the process.
//! - [`Sandbox`]: one isolated Lua. Used by one caller at a time; may move between threads.
//! - [`Value`], [`Table`], [`Function`], [`StoredTable`]: what goes in and comes out.
//! - [`TableStore`]: where tables that are kept live.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")
)]

#[cfg(not(any(feature = "wasmtime", feature = "static")))]
compile_error!("luacell needs one of the features `wasmtime` (a default) and `static` to run its guest with");

mod active;
mod args;
mod bytes;
mod coarse;
mod codec;
mod config;
mod control;
mod engine;
mod error;
mod functions;
mod host;
mod image;
mod instance;
#[cfg(feature = "json")]
mod json;
mod keys;
mod limits;
mod machine;
mod metrics;
mod modules;
mod ordered;
mod outcome;
mod overlay;
mod path;
mod portable;
mod process;
mod protocol;
mod run;
mod sandbox;
mod shared;
mod snapshot;
mod start;
mod store;
mod stored;
mod tables;
#[cfg(feature = "testkit")]
pub mod testkit;
mod thread_stack;
pub mod threads;
mod units;
mod usage;
mod value;
mod virtual_time;
#[cfg(feature = "async")]
mod waiting;
#[cfg(not(feature = "static"))]
mod wasm_config;
mod weight;
pub mod wire;

pub use args::Args;
pub use config::{ComputeOptions, SandboxConfig};
pub use control::{Canceller, Interrupter};
pub use engine::{Engine, EngineConfig};
pub use error::{Error, ErrorKind, Result};
pub use functions::FromArgs;
pub use limits::StoreLimit;
pub use metrics::{MemoryStats, Metrics};
pub use modules::{Folder, Module, ModuleResolver, Resolved};
pub use outcome::Outcome;
pub use portable::ImportOptions;
pub use sandbox::Sandbox;
pub use snapshot::{RestoreOptions, Snapshot};
pub use store::{
    Batch, CancelToken, Durability, FileOptions, FileStore, IntoStore, MemoryStore, StoreError, StoreResult,
    TableStore, Usage, Write,
};
#[cfg(feature = "redis")]
pub use store::{RedisOptions, RedisStore};
pub use stored::{Home, StoredTable};
pub use units::{parse_size, parse_time};
pub use value::{FromValue, Function, IntoArgs, LuaString, Table, TableBuilder, TableRef, Value};
pub use weight::memory_in_use;

/// The programs in the README and the documents are tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../../docs/state.md")]
struct Documents;
