//! The native half of the Node.js package luacell. What users see is TypeScript, in `lib/`; this is what it is built on.
//!
//! Simple values cross as themselves, everything else as bytes in the encoding of [`luacell::wire`], because a call for each field
//! of a table would cost more than running most scripts.

mod bridge;
mod config;
mod failure;
mod handles;
mod jobs;
mod quick;
mod sandbox;
mod slots;
mod snapshot;
mod store;
mod value;
