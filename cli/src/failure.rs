//! What can go wrong, how it is reported, and with which exit status.

use std::io::Write;
use std::process::ExitCode;

use luacell::{Error, ErrorKind};

use crate::{show, terminal};

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// Lua or its sandbox.
    Lua(Error),
    /// Wrong use: an unreadable file, JSON that is none.
    Usage(anyhow::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Lua(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Usage(error)
    }
}

impl Failure {
    /// Writes it to standard error.
    pub fn report(&self) {
        let text = match self {
            Self::Lua(error) => format!("luacell: {}", describe(error)),
            Self::Usage(error) => format!("luacell: {}\n", terminal::text(format!("{error:#}").as_bytes())),
        };
        // Nobody is left to tell when standard error is closed.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// 1 a Lua error, 2 wrong use, 3 a limit.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Lua(error) => status(error.kind()),
            Self::Usage(_) => 2,
        })
    }
}

fn status(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Memory
        | ErrorKind::InstructionLimit
        | ErrorKind::Timeout
        | ErrorKind::Interrupted
        | ErrorKind::OutputLimit
        | ErrorKind::StoreLimit
        | ErrorKind::HostCallLimit => 3,
        ErrorKind::InvalidArgument => 2,
        _ => 1,
    }
}

/// Message, error value if it is more than text, and traceback, with a final newline. The script chose their words and
/// the names of its chunks: they are escaped wherever they go, for what is kept in a file is shown by a terminal in the
/// end.
pub fn describe(error: &Error) -> String {
    let mut text = format!("{}\n", terminal::text(error.message().as_bytes()));
    if error.value() != &luacell::Value::Nil {
        text.push_str("error value: ");
        text.push_str(&show::readable(error.value()));
        text.push('\n');
    }
    if let Some(traceback) = error.traceback() {
        text.push_str(&terminal::text(traceback.trim_end().as_bytes()));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_their_own_status() {
        for &kind in ErrorKind::ALL {
            let expected = match kind.name() {
                "Memory" | "Timeout" | "Interrupted" => 3,
                name if name.ends_with("Limit") => 3,
                "InvalidArgument" => 2,
                _ => 1,
            };
            assert_eq!(status(kind), expected, "{kind}");
        }
    }
}
