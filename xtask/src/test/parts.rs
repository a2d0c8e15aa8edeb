//! What there is to test. A new part is a new entry here.

use super::count::Format;
use super::tools::{
    CC, CC_32, CHROMIUM, CMAKE, GO, JANSSON, JDK, MAKE, MAVEN, NODE, NPM, PKG_CONFIG, PYTHON, REDIS, SWIFT, Tool,
    VALGRIND,
};
use crate::steps::CORE_FEATURES;

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
    /// Program and arguments, with spaces between them. `cargo` and `xtask` are the running ones; a last argument with
    /// a `*` stands for all files of the folder that end so: what `node --test FOLDER` means differs between versions.
    pub command: &'static [&'static str],
    /// How its output tells the results.
    pub format: Format,
    /// Where it runs, from the repository's root.
    pub folder: &'static str,
    /// Environment variables that get a folder below `target/` as their value: the runner's caches.
    pub caches: &'static [(&'static str, &'static str)],
}

const fn step(command: &'static [&'static str], format: Format) -> Step {
    Step { command, format, folder: "", caches: &[] }
}

impl Step {
    const fn within(self, folder: &'static str) -> Self {
        Self { folder, ..self }
    }

    const fn with_caches(self, caches: &'static [(&'static str, &'static str)]) -> Self {
        Self { caches, ..self }
    }
}

const TEST: &str = "cargo test --no-fail-fast --package";
const NODE_TEST: &str = "node --test --test-reporter=tap";

/// Of the crate luacell: what depends on how the guest is executed.
const EXECUTION: &str = "--lib --test asynchronous --test conformance --test host_functions --test limits --test promises \
                         --test snapshot --test threads --test transactions --test used_again";

/// Features of the crate luacell and no others.
const ONLY: &str = "--no-default-features --features";

/// Fetches wasm2c.
const WASM2C: Step = step(&["xtask static"], Format::Tap);

/// The library behind the Swift package and the Kotlin artifact.
const UNIFFI: Step = step(&["cargo build --quiet --release --package luacell-uniffi"], Format::Cargo);

/// All parts. The two lists run side by side, each part after the one before it: what shares a folder is in one list.
/// What is built for debugging is in the first, what is built for release in the second, so that neither waits for the
/// other's compiler.
pub const PARTS: [&[Part]; 2] = [DEBUG_PARTS, RELEASE_PARTS];

const DEBUG_PARTS: &[Part] = &[
    Part {
        name: "guest",
        about: "how lua.wasm is made, and this tool itself",
        needs: &[],
        steps: &[step(&[TEST, "xtask"], Format::Cargo)],
    },
    Part {
        name: "core",
        about: "the crate luacell, with the conformance corpus",
        needs: &[],
        steps: &[step(&[TEST, "luacell --features", CORE_FEATURES, "-- --skip server::"], Format::Cargo)],
    },
    Part {
        name: "static",
        about: "the crate luacell with the guest as C code, which needs no executable memory; with the conformance corpus",
        needs: &[CC, PYTHON],
        steps: &[WASM2C, step(&[TEST, "luacell", ONLY, "async,static", EXECUTION], Format::Cargo)],
    },
    Part {
        name: "native-guest",
        about: "the guest's C with sanitizers and assertions, everything collected and moved wherever it may be; the conformance corpus",
        needs: &[CC_32],
        steps: &[step(&["xtask sanitize guest --quick"], Format::Cargo)],
    },
    Part {
        name: "server",
        about: "the server store, on real servers and a cluster",
        needs: &[REDIS],
        steps: &[step(&[TEST, "luacell --features", CORE_FEATURES, "--test redis"], Format::Cargo)],
    },
    Part {
        name: "cli",
        about: "the command line program luacell",
        needs: &[],
        steps: &[step(&[TEST, "luacell-cli"], Format::Cargo)],
    },
    Part {
        name: "node-host",
        about: "lua.wasm driven by plain Node.js without any of our code",
        needs: &[NODE],
        steps: &[step(&[NODE_TEST, "core/tests/node-host/*.test.mjs"], Format::Tap)],
    },
    Part {
        name: "examples",
        about: "the bare hosts of lua.wasm in examples/, each with the conformance corpus",
        needs: &[NODE, GO, MAKE, CMAKE, JANSSON],
        steps: &[
            step(&[NODE_TEST, "examples/nodejs-example/test/*.test.js"], Format::Tap),
            // Without -modcacherw not even `cargo clean` could remove the module cache.
            step(&["go test -v -vet=all -modcacherw -buildvcs=false ./..."], Format::Go)
                .within("examples/go-example")
                .with_caches(&[("GOCACHE", "go/build"), ("GOMODCACHE", "go/modules")]),
            step(&["make test"], Format::Tap).within("examples/c-example"),
            step(&["make test-host SANITIZE=1"], Format::Tap).within("examples/c-example"),
            // In the same folder as ours: dependencies that both have are built once.
            step(&["cargo test --no-fail-fast --locked"], Format::Cargo)
                .within("examples/rust-example")
                .with_caches(&[("CARGO_TARGET_DIR", "")]),
        ],
    },
];

const RELEASE_PARTS: &[Part] = &[
    Part {
        name: "ffi-c",
        about: "libluacell in C and C++: interface, corpus, sanitizers, valgrind, installation, examples",
        needs: &[MAKE, JANSSON, REDIS, VALGRIND, PKG_CONFIG, CMAKE],
        steps: &[
            step(&[TEST, "luacell-ffi --release --lib"], Format::Cargo),
            // The profile that the other bindings are built with; what is installed by default differs in size only.
            step(&["xtask install-c --prefix target/ffi-c-installed --profile release"], Format::Tap),
            step(&["make test"], Format::Tap).within("ffi-c"),
            step(&["make test SANITIZE=1"], Format::Tap).within("ffi-c"),
            step(&["make valgrind"], Format::Tap).within("ffi-c"),
            step(&["bash ffi-c/test/installed.sh target/ffi-c-installed"], Format::Tap),
            step(&["make test PREFIX=../../target/ffi-c-installed"], Format::Tap).within("examples/c-embed"),
        ],
    },
    Part {
        name: "python",
        about: "the Python package, with the conformance corpus, its types, and its example",
        // pyright runs on Node.js.
        needs: &[PYTHON, NODE],
        steps: &[step(&["python3 py/tools/develop.py python -m pytest -q"], Format::Pytest)],
    },
    Part {
        name: "node",
        about: "the Node.js package luacell, with the conformance corpus",
        needs: &[NODE, NPM],
        steps: &[step(&["node node/tools/test.mjs"], Format::Tap)],
    },
    Part {
        name: "agent",
        about: "examples/agent, killed and continued, in Python and Node.js",
        needs: &[PYTHON, NODE, NPM],
        steps: &[
            // Only installs.
            step(&["python3 py/tools/develop.py"], Format::Tap),
            step(&["node node/tools/test.mjs examples/agent/test"], Format::Tap),
        ],
    },
    // The next two build `luacell/wasm`, and run the tests of a folder.
    Part {
        name: "wasm-entry",
        about: "luacell/wasm, in Node.js and in Chromium, with the conformance corpus",
        needs: &[NODE, NPM, CHROMIUM],
        steps: &[step(&["node node/wasm/tools/test.mjs node/wasm/test"], Format::Tap)],
    },
    Part {
        name: "browser",
        about: "the playground in examples/browser",
        needs: &[NODE, NPM, CHROMIUM],
        // One file after another: each builds the folder that it serves.
        steps: &[step(&["node node/wasm/tools/test.mjs examples/browser/test --test-concurrency=1"], Format::Tap)],
    },
    Part {
        name: "kotlin",
        about: "the Kotlin artifact, in Kotlin and Java, with the conformance corpus and its example",
        needs: &[MAVEN, JDK],
        steps: &[
            UNIFFI,
            // Whether the generated Kotlin and Swift are what the library gives.
            step(&["xtask verify-generated --bindings"], Format::Cargo),
            step(
                &["mvn --batch-mode --no-transfer-progress -Dmaven.repo.local=../../target/maven test"],
                Format::Surefire,
            )
            .within("uniffi-bindings/kotlin"),
        ],
    },
    Part {
        name: "swift",
        about: "the Swift package, with the conformance corpus and its example",
        needs: &[SWIFT],
        steps: &[UNIFFI, step(&["bash uniffi-bindings/swift/tools/test.sh"], Format::XCTest)],
    },
];

/// Parts that are slow and run only when they are named.
pub const EXTRA_PARTS: &[Part] = &[
    Part {
        name: "static-checks",
        about: "as static, with explicit checks instead of guard pages, and hardened",
        needs: &[CC, PYTHON],
        steps: &[WASM2C, step(&[TEST, "luacell", ONLY, "async,hardened,static-checks", EXECUTION], Format::Cargo)],
    },
    Part {
        name: "pulley",
        about: "the crate luacell on wasmtime's interpreter, with the conformance corpus",
        needs: &[],
        steps: &[step(&[TEST, "luacell", ONLY, "async,hardened,pulley", EXECUTION], Format::Cargo)],
    },
];
