//! Writing results: in one go, and quiet when the reader has left.

use std::io::{ErrorKind, Write};

use anyhow::Context;

use crate::failure::Failure;

/// Writes to standard output and flushes. A reader that has gone away (`luacell ... | head`) is no failure.
pub fn to_stdout(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Usage(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        _ => Ok(()),
    }
}

/// Writes to standard error.
pub fn to_stderr(bytes: &[u8]) -> Result<(), Failure> {
    match std::io::stderr().write_all(bytes) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard error").map_err(Failure::Usage)
        }
        _ => Ok(()),
    }
}
