//! Writing results: in one go, and without an error if the reader is gone.

use std::io::{ErrorKind, IsTerminal, Write};

use anyhow::Context;

use crate::failure::Failure;
use crate::terminal;

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

/// Writes text of a script to standard output: as it is to a file or program, and to a terminal what can be seen of it,
/// unless it shall be `raw`.
pub fn script_text(bytes: &[u8], raw: bool) -> Result<(), Failure> {
    if raw || !std::io::stdout().is_terminal() {
        return to_stdout(bytes);
    }
    to_stdout(terminal::text(bytes).as_bytes())
}

/// As `script_text`, to standard error.
pub fn script_text_aside(bytes: &[u8], raw: bool) -> Result<(), Failure> {
    if raw || !std::io::stderr().is_terminal() {
        return to_stderr(bytes);
    }
    to_stderr(terminal::text(bytes).as_bytes())
}

/// Writes JSON to standard output, on a line of its own. On a terminal it has escape sequences for what can't be seen.
pub fn json(text: &str) -> Result<(), Failure> {
    let text = if std::io::stdout().is_terminal() { terminal::json(text) } else { text.to_owned() };
    to_stdout(format!("{text}\n").as_bytes())
}
