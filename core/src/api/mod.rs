//! What programs use.

mod config;
#[cfg(test)]
mod crash_tests;
mod engine;
mod function;
#[cfg(feature = "async")]
mod futures;
mod limit_setters;
mod sandbox;
pub(crate) mod stored_table;
#[cfg(feature = "testkit")]
pub mod testkit;
mod transaction;
mod units;

pub use self::config::{ComputeOptions, SandboxConfig};
pub use self::engine::Engine;
pub use self::sandbox::Sandbox;
pub use self::units::{parse_size, parse_time};
