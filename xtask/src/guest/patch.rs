//! Named patches: exact replacements that must each match once, so that a new Lua version can't silently
//! lose one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// One patch file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// What the patch is for. Required, for the reader of the file.
    #[serde(rename = "why")]
    _why: String,
    #[serde(rename = "edit")]
    edits: Vec<Edit>,
}

/// One replacement in one file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    file: String,
    find: String,
    replace: String,
}

impl Patch {
    /// Parses the text of a patch file.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(toml::from_str(text)?)
    }

    /// Applies all edits to the files in `folder`.
    pub fn apply(&self, folder: &Path) -> Result<()> {
        for (index, edit) in self.edits.iter().enumerate() {
            edit.apply(folder).with_context(|| format!("edit {} ({})", index + 1, edit.file))?;
        }
        Ok(())
    }
}

impl Edit {
    fn apply(&self, folder: &Path) -> Result<()> {
        let path = folder.join(&self.file);
        let text = fs::read_to_string(&path).with_context(|| format!("Lua has no file {}", self.file))?;
        let text = self.replace_once(&text)?;
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    fn replace_once(&self, text: &str) -> Result<String> {
        if self.find.is_empty() {
            bail!("`find` is empty");
        }
        match text.matches(self.find.as_str()).count() {
            1 => Ok(text.replacen(&self.find, &self.replace, 1)),
            count => bail!("`find` must match exactly once but matches {count} times:\n{}", self.find.trim_end()),
        }
    }
}

/// Applies every patch file in `patches` to `folder`, in the order of their numbers, whatever group they are in.
/// Returns their number.
pub fn apply_all(patches: &Path, folder: &Path) -> Result<usize> {
    let files = files_with_extension(patches, "toml")?;
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(file).with_context(|| format!("reading patch {name}"))?;
        Patch::parse(&text).and_then(|patch| patch.apply(folder)).with_context(|| format!("patch {name}"))?;
    }
    Ok(files.len())
}

/// The files with this extension in a folder and those in it, sorted by name: it doesn't matter in which folder one
/// lies.
pub fn files_with_extension(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading folder {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_with_extension(&path, extension)?);
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    Ok(files)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn edit(find: &str, replace: &str) -> Edit {
        Edit { file: "a.c".into(), find: find.into(), replace: replace.into() }
    }

    #[test]
    fn one_match_is_replaced() {
        assert_eq!(edit("b", "xy").replace_once("abc").unwrap(), "axyc");
    }

    #[test]
    fn other_counts_are_errors_that_name_the_count() {
        let none = edit("z", "").replace_once("abc").unwrap_err().to_string();
        assert!(none.contains("matches 0 times"), "{none}");
        let two = edit("b", "").replace_once("abcb").unwrap_err().to_string();
        assert!(two.contains("matches 2 times"), "{two}");
        assert!(edit("", "").replace_once("abc").is_err());
    }

    #[test]
    fn errors_name_patch_and_edit() {
        let folder = std::env::temp_dir().join(format!("luacell-patch-{}", std::process::id()));
        let patches = folder.join("patches");
        fs::create_dir_all(&patches).unwrap();
        fs::write(folder.join("a.c"), "one two").unwrap();
        let text = "why = 'test'\n\
                    [[edit]]\nfile = 'a.c'\nfind = 'one'\nreplace = '1'\n\
                    [[edit]]\nfile = 'a.c'\nfind = 'three'\nreplace = '3'\n";
        fs::write(patches.join("10-test.toml"), text).unwrap();
        let error = format!("{:#}", apply_all(&patches, &folder).unwrap_err());
        let text = "why = 'test'\n[[edit]]\nfile = 'missing.c'\nfind = 'a'\nreplace = 'b'\n";
        fs::write(patches.join("10-test.toml"), text).unwrap();
        let missing = format!("{:#}", apply_all(&patches, &folder).unwrap_err());
        fs::remove_dir_all(&folder).unwrap();
        assert!(error.starts_with("patch 10-test.toml: edit 2 (a.c): "), "{error}");
        assert!(missing.contains("no file missing.c"), "{missing}");
    }

    #[test]
    fn a_patch_says_why_and_has_no_unknown_keys() {
        assert!(Patch::parse("[[edit]]\nfile='a'\nfind='b'\nreplace='c'\n").is_err());
        assert!(Patch::parse("why='w'\n[[edit]]\nfile='a'\nfind='b'\nreplace='c'\nall=true\n").is_err());
    }
}
