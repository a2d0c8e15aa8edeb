//! The folders of `src` are floors: each imports only from those below it. See `docs/architecture.md`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;

/// From the bottom.
const FLOORS: [&str; 11] =
    ["protocol", "util", "value", "store", "tables", "machine", "guest", "run", "snapshot", "waiting", "api"];

fn level(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| *floor == name)
}

/// What follows `crate::` in code, with its line: the first part of each path, also of those in braces.
fn imports(source: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for (at, _) in code.match_indices("crate::") {
            let rest = &code[at + "crate::".len()..];
            assert!(!rest.starts_with('{'), "write one `use` for each folder, not: {line}");
            let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
            // Macros for other crates are at the root, wherever they are defined.
            if rest[name.len()..].starts_with('!') {
                continue;
            }
            found.push((number + 1, name.to_owned()));
        }
    }
    found
}

fn check(folder: &Path, floor: usize, wrong: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            check(&path, floor, wrong);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            for (line, name) in imports(&fs::read_to_string(&path).unwrap()) {
                if level(&name).is_none_or(|level| level > floor) {
                    wrong.push(format!("{}:{line} imports from crate::{name}", path.display()));
                }
            }
        }
    }
}

#[test]
fn each_floor_imports_only_from_those_below() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&src).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        match level(name) {
            Some(floor) => check(&path, floor, &mut wrong),
            None => assert_eq!(name, "lib.rs", "everything but the public face is on a floor"),
        }
    }
    assert!(wrong.is_empty(), "a folder imports from one above it, or from lib.rs:\n{}", wrong.join("\n"));
}

#[test]
fn what_is_an_import() {
    let source = "use crate::value::{Error, Value};\n// crate::api\nlet x = crate::run::drive(crate::util::lock);";
    let names: Vec<_> = imports(source).into_iter().map(|(line, name)| format!("{line} {name}")).collect();
    assert_eq!(names, ["1 value", "3 run", "3 util"]);
}
