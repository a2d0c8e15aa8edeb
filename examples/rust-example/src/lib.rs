//! A bare host of `lua.wasm`: nothing but wasmtime and the pages under `docs/`.

mod host;
mod key;
mod message;
mod requests;
mod tables;
mod vm;

pub use key::decode_key;
pub use message::{Message, Table, Value};
pub use requests::Request;
pub use tables::Tables;
pub use vm::{MemoryStats, Outcome, Revision, Vm};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The script raised an error and did not catch it; the VM goes on working. Lua's strings need not be UTF-8.
    #[error("{}", String::from_utf8_lossy(.0))]
    Lua(Vec<u8>),
    /// The guest sent something that its contract does not allow.
    #[error("the guest breaks its contract: {0}")]
    Protocol(String),
    /// Source or arguments are longer than the I/O buffer can be.
    #[error("{size} bytes do not fit the buffer of {room}")]
    TooLarge { size: usize, room: usize },
    /// Asked for what only a host of a later revision may ask for.
    #[error("{0} need a host of revision {revision}", revision = *.1 as u8)]
    Revision(&'static str, Revision),
    /// Not now: another run waits already, or none does.
    #[error("{0}")]
    Run(&'static str),
    /// Something that has no encoded form.
    #[error("this value cannot be sent: {0}")]
    Unsendable(&'static str),
    /// The module does not fit, or its code has trapped. After a trap the VM must be dropped.
    #[error("{0:#}")]
    Wasm(#[from] wasmtime::Error),
}

pub(crate) fn protocol(what: impl Into<String>) -> Error {
    Error::Protocol(what.into())
}
