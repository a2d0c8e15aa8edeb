//! What programs use.

mod caller;
mod class;
mod config;
#[cfg(test)]
mod crash_tests;
mod engine;
mod function;
#[cfg(feature = "async")]
mod futures;
mod home_export;
#[doc(hidden)]
mod language;
mod limit_setters;
mod parse_units;
mod run;
mod sandbox;
#[cfg(feature = "serde")]
mod serde;
mod snapshots;
pub(crate) mod stored_table;
#[cfg(feature = "testkit")]
pub mod testkit;
mod transaction;

pub use self::caller::Caller;
pub use self::class::{Class, ClassBuilder, LuaObject, Metamethod};
pub use self::config::{ComputeOptions, SandboxConfig};
pub use self::engine::Engine;
#[cfg(feature = "async")]
pub use self::futures::Reply;
pub use self::home_export::ImportOptions;
#[cfg(feature = "async")]
pub use self::language::{LanguageClass, Member, MemberFn};
pub use self::parse_units::{parse_size, parse_time};
pub use self::run::{Request, Run};
pub use self::sandbox::Sandbox;
