//! The licences of the crates that ship: where they ask for a notice, `THIRD-PARTY-NOTICES.md` has to give it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result, bail, ensure};

use crate::steps::{cargo, printed, read};

const NOTICES: &str = "THIRD-PARTY-NOTICES.md";

/// What is given to people as a program or a library.
const SHIPPED: &[&str] = &["luacell-cli", "luacell-ffi", "luacell-node", "luacell-py", "luacell-uniffi"];

/// Fails when a crate in what ships is under a licence that someone has to look at, and nobody has.
pub fn check(root: &Path) -> Result<()> {
    let text = read(&root.join(NOTICES))?;
    let listed = listed(&text);
    let missing: Vec<String> = licences()?
        .into_iter()
        .filter(|(name, licence)| !covered(licence) && !listed.contains(name.as_str()))
        .map(|(name, licence)| format!("{name} ({licence})"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "{NOTICES} lacks {}; if the licence may be shipped, give the crate a row in its table, and the licence's text",
        missing.join(", ")
    )
}

/// The crates in the first column of the table.
fn listed(text: &str) -> BTreeSet<&str> {
    let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.flat_map(|cell| cell.split(", ")).collect()
}

/// Whether our copy of the Apache licence is all that has to come along.
fn covered(licence: &str) -> bool {
    let mut choices = licence.split(" OR ").flat_map(|choice| choice.split('/')).map(str::trim);
    choices.any(|choice| matches!(choice, "Apache-2.0" | "Apache-2.0 WITH LLVM-exception"))
}

/// The crates within what ships, with their licences.
fn licences() -> Result<BTreeMap<String, String>> {
    let mut command =
        cargo(&["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}|{l}"]);
    command.args(SHIPPED.iter().flat_map(|package| ["--package", package]));
    let crates: BTreeMap<String, String> = printed(&mut command)?
        .lines()
        .filter_map(|line| {
            let (package, licence) = line.split_once('|')?;
            let name = package.split(' ').next()?;
            Some((name.to_owned(), licence.trim_end_matches(" (*)").to_owned()))
        })
        .collect();
    ensure!(crates.contains_key("wasmtime"), "cargo tree doesn't name wasmtime, so it can't have named all crates");
    Ok(crates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_of_apache_needs_no_row() {
        for licence in
            ["Apache-2.0", "MIT OR Apache-2.0", "MIT/Apache-2.0", "Apache-2.0 / MIT", "Apache-2.0 WITH LLVM-exception"]
        {
            assert!(covered(licence), "{licence}");
        }
        for licence in ["MIT", "ISC", "Apache-2.0 AND ISC", "(MIT OR Apache-2.0) AND Unicode-3.0", "GPL-3.0", ""] {
            assert!(!covered(licence), "{licence}");
        }
    }

    #[test]
    fn rows_name_one_crate_or_several() {
        let names = listed("| crate | licence |\n|---|---|\n| napi, napi-sys | MIT | x |\n");
        assert!(["napi", "napi-sys"].iter().all(|name| names.contains(name)));
    }
}
