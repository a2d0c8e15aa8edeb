//! The server store. All tests are in one module, so that those who have no server can leave them out by its name.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]
#![cfg(unix)]

#[path = "../durable/killed.rs"]
mod killed;
#[path = "../durable/renewed.rs"]
mod renewed;
mod server;
