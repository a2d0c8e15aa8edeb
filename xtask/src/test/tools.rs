//! Programs that tests need and that this tool does not install.

use std::process::{Command, Stdio};

/// A program, how to ask for its version, and where to get it.
pub struct Tool {
    /// As called.
    pub program: &'static str,
    /// Least major version.
    pub at_least: u32,
    /// How to install it.
    pub install: &'static str,
}

/// Node.js 20 or later: the first with a stable test runner and the TAP reporter.
pub const NODE: Tool = Tool { program: "node", at_least: 20, install: "apt-get install nodejs" };

/// A server for the server store; 6 is the first with TLS.
pub const REDIS: Tool = Tool { program: "redis-server", at_least: 6, install: "apt-get install redis-server openssl" };

/// What to tell the user when `tool` is absent or too old.
pub fn missing(tool: &Tool) -> Option<String> {
    let Tool { program, at_least, install } = tool;
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => {
            let version = String::from_utf8_lossy(&output.stdout);
            match major(&version) {
                Some(found) if found >= *at_least => None,
                _ => Some(format!("{program} {at_least} or later is needed, this is {}; {install}", version.trim())),
            }
        }
        _ => Some(format!("{program} {at_least} or later is missing; {install}")),
    }
}

/// The first number in what a program says of its version.
fn major(version: &str) -> Option<u32> {
    let start = version.find(|c: char| c.is_ascii_digit())?;
    let digits = version.get(start..)?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn the_first_number_is_the_major_version() {
        assert_eq!(major("v20.11.1\n"), Some(20));
        assert_eq!(major("Python 3.12.0"), Some(3));
        assert_eq!(major("unknown"), None);
    }
}
