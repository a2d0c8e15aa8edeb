//! What the core says to the guest, and what it hears from it.

mod buffer;
mod channel;
mod classes;
pub(crate) mod factory;
pub(crate) mod held_tables;
pub(crate) mod held_values;
mod host;
pub(crate) mod host_functions;
#[cfg(feature = "async")]
pub(crate) mod host_future;
mod imports;
mod instance;
mod kept_errors;
mod limit_checks;
pub(crate) mod limits;
pub(crate) mod memory_delta;
mod memory_slice;
pub(crate) mod modules;
pub(crate) mod reentry;
pub(crate) mod registration;
pub(crate) mod requests;
pub(crate) mod resolver;
mod run;
pub(crate) mod settings;
pub(crate) mod virtual_clock;

pub(crate) use self::host::{Check, Host, PrintSink};
pub(crate) use self::instance::{Guest, GuestMut, GuestState};
pub(crate) use self::run::InnerBudget;
