//! What there is to test. A new part is a new entry here.

use super::count::Format;
use super::tools::{CMAKE, GO, JANSSON, MAKE, NODE, REDIS, Tool};

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

const fn make(args: &'static [&'static str], folder: &'static str) -> Step {
    Step { program: "make", args, files: None, folder, caches: &[], format: Format::Tap }
}

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
        steps: &[cargo_test(&[
            "test",
            "--no-fail-fast",
            "--package",
            "luacell",
            "--features",
            "async,hardened,jit,json,testkit",
        ])],
    },
    Part {
        name: "server",
        about: "the server store, on real servers and a cluster",
        needs: &[REDIS],
        steps: &[cargo_test(&[
            "test",
            "--no-fail-fast",
            "--package",
            "luacell",
            "--features",
            "async,hardened,jit,json,redis,testkit",
            "--test",
            "redis",
        ])],
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
];
