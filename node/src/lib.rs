//! The native half of the Node.js package luacell. What users see is TypeScript, in `lib/`; this is what it is built
//! on.
//!
//! Simple values cross as themselves, everything else as bytes in the encoding of [`luacell::wire`], because a call for
//! each field of a table would cost more than running most scripts.

#![cfg_attr(test, allow(dead_code, reason = "napi exports no functions in a build for tests, of which there are none"))]

mod bridge;
mod callables;
mod classes;
mod config;
mod failure;
mod handles;
mod hot_calls;
mod jobs;
mod raw_callback;
mod run;
mod sandbox;
mod slots;
mod snapshot;
mod store;
mod value;
