//! What there is to test. A new part is a new entry here.

use super::count::Format;
use super::tools::{
    CC, CC_32, CHROMIUM, CMAKE, GO, JANSSON, JDK, MAKE, MAVEN, NODE, NPM, PKG_CONFIG, PYTHON, REDIS, SWIFT, Tool,
    VALGRIND,
};

/// Tests that are run and reported together.
pub struct Part {
    /// As on the command line.
    pub name: &'static str,
    /// One line about what is tested.
    pub about: &'static str,
    /// Programs without which the part can't run.
    pub needs: &'static [Tool],
    /// The runners, in order.
    pub steps: &'static [Step],
}

/// One call of a test runner.
pub struct Step {
    /// Program; `cargo` is the running one.
    pub program: &'static str,
    /// Its arguments.
    pub args: &'static [&'static str],
    /// Folder and file name suffix of test files to add to the arguments.
    pub files: Option<(&'static str, &'static str)>,
    /// Where it runs, from the repository's root.
    pub folder: &'static str,
    /// Environment variables that get a folder below `target/` as their value: the runner's caches.
    pub caches: &'static [(&'static str, &'static str)],
    /// How its output tells the results.
    pub format: Format,
}

const fn cargo_test(args: &'static [&'static str]) -> Step {
    Step { program: "cargo", args, files: None, folder: "", caches: &[], format: Format::Cargo }
}

/// Of the crate luacell.
macro_rules! core_test {
    ($($more:literal),*) => {
        cargo_test(&[
            "test",
            "--no-fail-fast",
            "--package",
            "luacell",
            "--features",
            crate::steps::CORE_FEATURES,
            $($more),*
        ])
    };
}

/// Of the crate luacell where nothing may become executable: with these features only, and what depends on how the guest is executed.
macro_rules! without_jit {
    ($features:literal) => {
        cargo_test(&[
            "test",
            "--no-fail-fast",
            "--package",
            "luacell",
            "--no-default-features",
            "--features",
            $features,
            "--lib",
            "--test",
            "asynchronous",
            "--test",
            "conformance",
            "--test",
            "host_functions",
            "--test",
            "limits",
            "--test",
            "promises",
            "--test",
            "snapshot",
            "--test",
            "threads",
            "--test",
            "transactions",
            "--test",
            "used_again",
        ])
    };
}

/// Fetches wasm2c.
const WASM2C: Step = Step {
    program: "cargo",
    args: &["run", "--quiet", "--package", "xtask", "--", "static"],
    files: None,
    folder: "",
    caches: &[],
    format: Format::Tap,
};

const fn node_test(folder: &'static str, suffix: &'static str) -> Step {
    Step {
        program: "node",
        args: &["--test", "--test-reporter=tap"],
        files: Some((folder, suffix)),
        folder: "",
        caches: &[],
        format: Format::Tap,
    }
}

/// Builds `luacell/wasm`, and runs the tests of a folder.
const fn wasm_test(args: &'static [&'static str]) -> Step {
    Step { program: "node", args, files: None, folder: "", caches: &[], format: Format::Tap }
}

const fn make(args: &'static [&'static str], folder: &'static str) -> Step {
    Step { program: "make", args, files: None, folder, caches: &[], format: Format::Tap }
}

/// The library behind the Swift package and the Kotlin artifact.
const UNIFFI: Step = cargo_test(&["build", "--quiet", "--release", "--package", "luacell-uniffi"]);

/// Whether the generated Kotlin and Swift are what the library gives.
const GENERATED: Step = cargo_test(&["run", "--quiet", "--package", "xtask", "--", "verify-generated", "--bindings"]);

/// All parts, in the order in which they run.
pub const PARTS: &[Part] = &[
    Part {
        name: "guest",
        about: "how lua.wasm is made, and this tool itself",
        needs: &[],
        steps: &[cargo_test(&["test", "--no-fail-fast", "--package", "xtask"])],
    },
    Part {
        name: "core",
        about: "the crate luacell, with the conformance corpus",
        needs: &[],
        steps: &[core_test!("--", "--skip", "server::")],
    },
    Part {
        name: "static",
        about: "the crate luacell with the guest as C code, which needs no executable memory; with the conformance corpus",
        needs: &[CC, PYTHON],
        steps: &[WASM2C, without_jit!("async,static")],
    },
    Part {
        name: "native-guest",
        about: "the guest's C with sanitizers and assertions, everything collected and moved wherever it may be; the conformance corpus",
        needs: &[CC_32],
        steps: &[cargo_test(&["run", "--quiet", "--package", "xtask", "--", "sanitize", "guest", "--quick"])],
    },
    Part {
        name: "server",
        about: "the server store, on real servers and a cluster",
        needs: &[REDIS],
        steps: &[core_test!("--test", "redis")],
    },
    Part {
        name: "cli",
        about: "the command line program luacell",
        needs: &[],
        steps: &[cargo_test(&["test", "--no-fail-fast", "--package", "luacell-cli"])],
    },
    Part {
        name: "node-host",
        about: "lua.wasm driven by plain Node.js without any of our code",
        needs: &[NODE],
        steps: &[node_test("core/tests/node-host", ".test.mjs")],
    },
    Part {
        name: "ffi-c",
        about: "libluacell in C and C++: interface, corpus, sanitizers, valgrind, installation, examples",
        needs: &[MAKE, JANSSON, REDIS, VALGRIND, PKG_CONFIG, CMAKE],
        steps: &[
            cargo_test(&["test", "--release", "--no-fail-fast", "--package", "luacell-ffi", "--lib"]),
            // The profile that the other bindings are built with; what is installed by default differs in size only.
            Step {
                program: "cargo",
                args: &[
                    "run",
                    "--quiet",
                    "--package",
                    "xtask",
                    "--",
                    "install-c",
                    "--prefix",
                    "target/ffi-c-installed",
                    "--profile",
                    "release",
                ],
                files: None,
                folder: "",
                caches: &[],
                format: Format::Tap,
            },
            make(&["test"], "ffi-c"),
            make(&["test", "SANITIZE=1"], "ffi-c"),
            make(&["valgrind"], "ffi-c"),
            Step {
                program: "bash",
                args: &["ffi-c/test/installed.sh", "target/ffi-c-installed"],
                files: None,
                folder: "",
                caches: &[],
                format: Format::Tap,
            },
            make(&["test", "PREFIX=../../target/ffi-c-installed"], "examples/c-embed"),
        ],
    },
    Part {
        name: "python",
        about: "the Python package, with the conformance corpus, its types, and its example",
        // pyright runs on Node.js.
        needs: &[PYTHON, NODE],
        steps: &[Step {
            program: "python3",
            args: &["py/tools/develop.py", "python", "-m", "pytest", "-q"],
            files: None,
            folder: "",
            caches: &[],
            format: Format::Pytest,
        }],
    },
    Part {
        name: "node",
        about: "the Node.js package luacell, with the conformance corpus",
        needs: &[NODE, NPM],
        steps: &[Step {
            program: "node",
            args: &["tools/test.mjs"],
            files: None,
            folder: "node",
            caches: &[],
            format: Format::Tap,
        }],
    },
    Part {
        name: "wasm-entry",
        about: "luacell/wasm, in Node.js and in Chromium, with the conformance corpus",
        needs: &[NODE, NPM, CHROMIUM],
        steps: &[wasm_test(&["node/wasm/tools/test.mjs", "node/wasm/test"])],
    },
    Part {
        name: "browser",
        about: "the playground in examples/browser",
        needs: &[NODE, NPM, CHROMIUM],
        steps: &[wasm_test(&["node/wasm/tools/test.mjs", "examples/browser/test"])],
    },
    Part {
        name: "examples",
        about: "the bare hosts of lua.wasm in examples/, each with the conformance corpus",
        needs: &[NODE, GO, MAKE, CMAKE, JANSSON],
        steps: &[
            node_test("examples/nodejs-example/test", ".test.js"),
            Step {
                program: "go",
                // Without -modcacherw not even `cargo clean` could remove the module cache.
                args: &["test", "-v", "-vet=all", "-modcacherw", "-buildvcs=false", "./..."],
                files: None,
                folder: "examples/go-example",
                caches: &[("GOCACHE", "go/build"), ("GOMODCACHE", "go/modules")],
                format: Format::Go,
            },
            make(&["test"], "examples/c-example"),
            make(&["test-host", "SANITIZE=1"], "examples/c-example"),
            Step {
                program: "cargo",
                args: &["test", "--no-fail-fast", "--locked"],
                files: None,
                folder: "examples/rust-example",
                // The same folder as ours: dependencies that both have are built once.
                caches: &[("CARGO_TARGET_DIR", "")],
                format: Format::Cargo,
            },
        ],
    },
    Part {
        name: "kotlin",
        about: "the Kotlin artifact, in Kotlin and Java, with the conformance corpus and its example",
        needs: &[MAVEN, JDK],
        steps: &[
            UNIFFI,
            GENERATED,
            Step {
                program: "mvn",
                args: &["--batch-mode", "--no-transfer-progress", "-Dmaven.repo.local=../../target/maven", "test"],
                files: None,
                folder: "uniffi-bindings/kotlin",
                caches: &[],
                format: Format::Surefire,
            },
        ],
    },
    Part {
        name: "swift",
        about: "the Swift package, with the conformance corpus and its example",
        needs: &[SWIFT],
        steps: &[
            UNIFFI,
            Step {
                program: "bash",
                args: &["uniffi-bindings/swift/tools/test.sh"],
                files: None,
                folder: "",
                caches: &[],
                format: Format::XCTest,
            },
        ],
    },
];

/// Parts that are slow and run only when they are named.
pub const EXTRA_PARTS: &[Part] = &[
    Part {
        name: "static-checks",
        about: "as static, with explicit checks instead of guard pages, and hardened",
        needs: &[CC, PYTHON],
        steps: &[WASM2C, without_jit!("async,hardened,static-checks")],
    },
    Part {
        name: "pulley",
        about: "the crate luacell on wasmtime's interpreter, with the conformance corpus",
        needs: &[],
        steps: &[without_jit!("async,hardened,pulley")],
    },
];
