//! Runs scripts in sandboxes in all states, and looks whether what `docs/security.md` promises holds.

pub mod case;
mod check;
mod measure;
mod store;
mod worker;

pub use worker::{Selection, watch, work_if_asked};
