//! The version: `Cargo.toml` has it, and the files of other package managers repeat it.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// How a file tells versions.
enum Form {
    /// JSON, with pointers to them.
    Json(&'static [&'static str]),
    /// Maven: of each artifact `luacell`.
    Pom,
    /// The workspace's own file: what its members want of the crate luacell.
    Workspace,
}

const FILES: &[(&str, Form)] = &[
    ("Cargo.toml", Form::Workspace),
    ("node/package.json", Form::Json(&["/version"])),
    ("node/package-lock.json", Form::Json(&["/version", "/packages//version"])),
    ("uniffi-bindings/kotlin/pom.xml", Form::Pom),
    ("examples/kotlin/pom.xml", Form::Pom),
];

/// Fails when a file has another version than this workspace.
pub fn check(root: &Path) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let mut wrong = Vec::new();
    for (name, form) in FILES {
        let text = std::fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"))?;
        let found = versions(&text, form).with_context(|| format!("cannot read the version in {name}"))?;
        wrong.extend(found.into_iter().filter(|found| found != version).map(|found| format!("{name} has {found}")));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!(
        "the version is {version}, as in [workspace.package] of Cargo.toml, but {}; write {version} there",
        wrong.join(", ")
    )
}

fn versions(text: &str, form: &Form) -> Result<Vec<String>> {
    match form {
        Form::Json(pointers) => {
            let json: serde_json::Value = serde_json::from_str(text)?;
            let version = |pointer: &&str| json.pointer(pointer).and_then(serde_json::Value::as_str).map(str::to_owned);
            pointers.iter().map(|pointer| version(pointer).with_context(|| format!("no string at {pointer}"))).collect()
        }
        Form::Pom => {
            let after_artifact = text.split("<artifactId>luacell</artifactId>").skip(1);
            let version = |rest: &str| {
                let (before, rest) = rest.split_once("<version>")?;
                before.trim().is_empty().then_some(())?;
                Some(rest.split_once("</version>")?.0.to_owned())
            };
            let found: Option<Vec<String>> = after_artifact.map(version).collect();
            found
                .filter(|found| !found.is_empty())
                .context("no <version> right behind <artifactId>luacell</artifactId>")
        }
        Form::Workspace => {
            let manifest: toml::Value = toml::from_str(text)?;
            let wanted = ["workspace", "dependencies", "luacell", "version"];
            let version = wanted.iter().try_fold(&manifest, |table, key| table.get(key)).and_then(toml::Value::as_str);
            Ok(vec![version.context("no workspace.dependencies.luacell.version")?.to_owned()])
        }
    }
}
