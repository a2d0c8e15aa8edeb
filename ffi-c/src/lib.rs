//! libluacell: the C interface of luacell. `include/luacell.h` is generated from the public items here, comments
//! included.
//!
//! Every function goes through [`guard`], which turns errors into status codes and panics into `LUACELL_INTERNAL`.

#![allow(
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    clippy::missing_safety_doc,
    reason = "C hands over pointers; what they have to be is said once, at the top of the header"
)]
#![allow(non_camel_case_types, reason = "types have the names that they have in C")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "tests"))]

pub mod config;
pub mod engine;
pub mod error;
mod guard;
pub mod host_function;
pub mod object;
pub mod outcome;
pub mod pointers;
pub mod run;
pub mod sandbox;
pub mod sink;
mod size_prefixed;
pub mod snapshot;
pub mod status;
pub mod store;
pub mod table;
pub mod value;
