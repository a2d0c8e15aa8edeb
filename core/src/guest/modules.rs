//! Where `require` finds modules.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::protocol::search;
use crate::value::{Error, Result};

/// A module's source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Lua source, text or any bytes.
    pub source: Vec<u8>,
    /// The chunk's name for messages, as in Lua: `=name` or `@file`.
    pub chunk_name: String,
}

impl Module {
    /// A module with this source, named `=name`.
    pub fn new(name: &str, source: impl Into<Vec<u8>>) -> Self {
        Module { source: source.into(), chunk_name: format!("={name}") }
    }
}

/// What a resolver says about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// Here it is.
    Found(Module),
    /// There is none. The text says where it looked, one line for each place, as in `no file 'lib/x.lua'`.
    Missing(String),
}

/// Finds the source of a module for `require`. Each sandbox asks once for each module that it loads.
///
/// Implemented by maps from names to sources, by [`Folder`], and by functions from a name to an optional [`Module`].
pub trait ModuleResolver: Send + Sync {
    /// The module of that name. A name comes from the script and may be anything.
    ///
    /// # Errors
    /// Anything. `require` raises an error in the script. It has the text of [`Error::host`], which is meant for
    /// scripts; otherwise it only says that the host failed. The host gets the error as the cause.
    fn resolve(&self, name: &str) -> Result<Resolved>;
}

fn of_map<S: AsRef<[u8]>>(name: &str, source: Option<&S>) -> Resolved {
    match source {
        Some(source) => Resolved::Found(Module::new(name, source.as_ref())),
        None => Resolved::Missing(format!("no module '{name}' in the host's list")),
    }
}

impl<S: AsRef<[u8]> + Send + Sync, H: BuildHasher + Send + Sync> ModuleResolver for HashMap<String, S, H> {
    fn resolve(&self, name: &str) -> Result<Resolved> {
        Ok(of_map(name, self.get(name)))
    }
}

impl<S: AsRef<[u8]> + Send + Sync> ModuleResolver for BTreeMap<String, S> {
    fn resolve(&self, name: &str) -> Result<Resolved> {
        Ok(of_map(name, self.get(name)))
    }
}

impl<F: Fn(&str) -> Result<Option<Module>> + Send + Sync> ModuleResolver for F {
    fn resolve(&self, name: &str) -> Result<Resolved> {
        Ok(match self(name)? {
            Some(module) => Resolved::Found(module),
            None => Resolved::Missing(format!("the host has no module '{name}'")),
        })
    }
}

/// Modules that are files in a folder: `require "a.b"` reads `a/b.lua`, or else `a/b/init.lua`.
///
/// Nothing outside the folder is read: the parts of a name may only contain letters, digits, `_` and `-`. A link to a
/// file outside the folder is refused, and a link to a folder outside it is not followed.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Folder { path: path.into() }
    }

    /// A script does not learn what is outside, not even whether it exists: a link to a folder out there does not count
    /// as a folder, and a link to a file out there is refused, wherever it leads.
    fn read(&self, file: &Path) -> Result<Option<Vec<u8>>> {
        let fail = |e: io::Error| Error::opaque(format!("can't read '{}': {e}", self.path.join(file).display()));
        let is_missing = |e: &io::Error| matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        let root = match self.path.canonicalize() {
            Err(e) if is_missing(&e) => return Ok(None),
            root => root.map_err(fail)?,
        };
        let mut folder = root.clone();
        for part in file.parent().into_iter().flatten() {
            folder = match folder.join(part).canonicalize() {
                Ok(path) if path.starts_with(&root) => path,
                Ok(_) => return Ok(None),
                Err(e) if is_missing(&e) => return Ok(None),
                Err(e) => return Err(fail(e)),
            };
        }
        let there = folder.join(file.file_name().unwrap_or_default());
        match there.canonicalize() {
            Ok(path) if path.starts_with(&root) => {
                if !path.is_file() {
                    return Ok(None);
                }
                std::fs::read(&path).map(Some).map_err(fail)
            }
            Err(e) if is_missing(&e) && !there.is_symlink() => Ok(None),
            Err(e) if !is_missing(&e) => Err(fail(e)),
            _ => Err(Error::opaque(format!("'{}' leads out of the modules' folder", self.path.join(file).display()))),
        }
    }
}

impl ModuleResolver for Folder {
    fn resolve(&self, name: &str) -> Result<Resolved> {
        let is_plain =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        if !name.split('.').all(is_plain) {
            return Ok(Resolved::Missing(format!("no file: '{name}' is not a module's name")));
        }
        let relative: PathBuf = name.split('.').collect();
        let mut tried = Vec::new();
        for file in [relative.with_extension("lua"), relative.join("init.lua")] {
            if let Some(source) = self.read(&file)? {
                let chunk_name = format!("@{}", file.display());
                return Ok(Resolved::Found(Module { source, chunk_name }));
            }
            tried.push(format!("no file '{}'", file.display()));
        }
        Ok(Resolved::Missing(tried.join("\n")))
    }
}

/// The answer to the guest's request for a module.
pub(crate) fn answer(resolver: &dyn ModuleResolver, name: &[u8]) -> Result<Vec<u8>> {
    let resolved = match std::str::from_utf8(name) {
        Ok(name) => catch_unwind(AssertUnwindSafe(|| resolver.resolve(name)))
            .unwrap_or_else(|_| Err(Error::opaque("the search for a module panicked")))?,
        Err(_) => Resolved::Missing("the name is not valid UTF-8".to_owned()),
    };
    let mut out = Vec::new();
    match resolved {
        Resolved::Found(module) => {
            out.extend_from_slice(&search::FOUND.to_le_bytes());
            out.extend_from_slice(&u32::try_from(module.chunk_name.len()).unwrap_or_default().to_le_bytes());
            out.extend_from_slice(module.chunk_name.as_bytes());
            out.extend_from_slice(&module.source);
        }
        Resolved::Missing(places) => {
            out.extend_from_slice(&search::MISSING.to_le_bytes());
            for place in places.lines() {
                out.extend_from_slice(b"\n\t");
                out.extend_from_slice(place.as_bytes());
            }
        }
    }
    Ok(out)
}

/// The same if there is none because of an error: what the script may see of it.
pub(crate) fn failed(error: &Error) -> Vec<u8> {
    let text = error.chosen().unwrap_or_else(|| "the host could not provide it".into());
    [&search::FAILED.to_le_bytes(), text.as_bytes()].concat()
}
