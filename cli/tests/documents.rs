//! The commands in the README and the pages about state are run as they stand there.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::path::Path;
use std::process::{Command, Stdio};

/// What the commands name, so that they have something to work on.
const SCRIPT: &str = "_home.players = {{name = 'Grace'}} print(...) return _io.input and #_io.input.items";

/// The script that waits.
const ORDER: &str = "_home.price = ask('price', ...) return _home.price";

/// The exit status of a run that waits.
const WAITS: i32 = 4;

/// What stands in the documents and can't be here: the program is built already; no server is there, and the program
/// that people install has no stores on one.
const INSTEAD: [(&str, &str); 2] =
    [("cargo run --release -p luacell-cli -- ", "luacell "), ("redis://localhost", "loaded.luacell")];

#[test]
fn commands_in_the_documents_work() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_luacell"));
    let path = std::env::join_paths([program.parent().unwrap(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let mut told = 0;
    for page in ["README.md", "docs/state.md"] {
        let folder = tempfile::tempdir().unwrap();
        for name in ["script.lua", "untrusted.lua"] {
            std::fs::write(folder.path().join(name), SCRIPT).unwrap();
        }
        std::fs::write(folder.path().join("order.lua"), ORDER).unwrap();
        let text = std::fs::read_to_string(root.join(page)).unwrap();
        let text = INSTEAD.iter().fold(text, |text, (there, here)| text.replace(there, here));
        let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
        let commands: Vec<&str> = blocks.flat_map(str::lines).filter(|line| line.starts_with("luacell ")).collect();
        assert!(commands.len() >= 5, "{page} has only {commands:?}");
        for command in commands {
            let mut shell = Command::new("sh");
            shell.args(["-c", command]).current_dir(folder.path()).env("PATH", &path).stdin(Stdio::null());
            let output = shell.output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            let expected = if command.contains("--durable") { WAITS } else { 0 };
            assert_eq!(output.status.code(), Some(expected), "{page}: {command}: {}\n{errors}", output.status);
            if let Some((_, after)) = text.split_once(&format!("{command}\n```\n\nprints `")) {
                let printed = String::from_utf8_lossy(&output.stdout);
                assert_eq!(Some(printed.trim_end()), after.split('`').next(), "{page}: {command}");
                told += 1;
            }
        }
    }
    assert_eq!(told, 1, "the README's first command, whose output is told");
}
