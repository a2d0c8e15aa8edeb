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

mod api;
mod guest;
mod machine;
mod protocol;
mod run;
mod snapshot;
mod store;
mod tables;
mod util;
mod value;
mod waiting;

#[cfg(feature = "async")]
pub use api::Reply;
#[cfg(feature = "testkit")]
pub use api::testkit;
pub use api::{
    Caller, Class, ClassBuilder, ComputeOptions, Engine, ImportOptions, LuaObject, Metamethod, Request, Run, Sandbox,
    SandboxConfig, parse_size, parse_time,
};
#[cfg(feature = "async")]
#[doc(hidden)]
pub use api::{LanguageClass, Member, MemberFn};
pub use guest::modules::{Folder, Module, ModuleResolver, Resolved};
pub use machine::EngineConfig;
pub use run::{Canceller, Interrupter, memory_in_use, threads};
pub use snapshot::{RestoreOptions, Snapshot};
pub use store::{
    Batch, CancelToken, Durability, FileOptions, FileStore, IntoStore, MemoryStore, StoreError, StoreResult,
    TableStore, Usage, Write,
};
#[cfg(feature = "redis")]
pub use store::{RedisOptions, RedisStore};
pub use tables::{PendingRun, StoreLimit};
#[doc(hidden)]
pub use value::LanguageData;
#[cfg(feature = "serde")]
pub use value::serde::SerializeArgs;
pub use value::{
    Args, CallArgs, Error, ErrorKind, FromArg, FromArgs, FromValue, Function, Home, IntoArgs, LuaString, MemoryStats,
    Metrics, Object, ObjectRef, Outcome, Result, Shape, StoredTable, Table, TableBuilder, TableRef, Value, Variadic,
    binding_codec as wire, fallible,
};

/// The programs in the README and the documents are tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../../docs/state.md")]
struct Documents;
