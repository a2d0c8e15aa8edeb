//! What can be given as a store.

use std::path::{Path, PathBuf};

use super::{FileStore, StoreResult, TableStore};

/// What [`SandboxConfig::store`](crate::SandboxConfig::store) takes: a store, the path of a [`FileStore`], also as a
/// URL (`file://PATH`, percent-encoded, with `?read_only=true` to [only read](super::FileOptions::read_only) it and
/// `?create=false` to open one that [is there](super::FileOptions::create)), or the URL of a server (`redis://`,
/// `rediss://`, `valkey://`, `valkeys://`; needs the feature `redis`).
pub trait IntoStore {
    /// The store.
    ///
    /// # Errors
    /// When it can't be opened.
    fn into_store(self) -> StoreResult<Box<dyn TableStore>>;
}

impl<S: TableStore + 'static> IntoStore for S {
    fn into_store(self) -> StoreResult<Box<dyn TableStore>> {
        Ok(Box::new(self))
    }
}

impl IntoStore for Box<dyn TableStore> {
    fn into_store(self) -> StoreResult<Box<dyn TableStore>> {
        Ok(self)
    }
}

impl IntoStore for &str {
    fn into_store(self) -> StoreResult<Box<dyn TableStore>> {
        let Some((scheme, rest)) = self.split_once("://") else {
            return Path::new(self).into_store();
        };
        match scheme.to_ascii_lowercase().as_str() {
            "file" => Ok(Box::new(open_file(rest)?)),
            #[cfg(feature = "redis")]
            "redis" | "rediss" | "valkey" | "valkeys" => Ok(Box::new(super::RedisStore::open(self)?)),
            #[cfg(not(feature = "redis"))]
            "redis" | "rediss" | "valkey" | "valkeys" => {
                Err("this build of luacell has no server store; turn on the feature `redis`".into())
            }
            _ => Err(format!("there is no store for {scheme}:// (use a path, file://, redis:// or rediss://)").into()),
        }
    }
}

impl IntoStore for String {
    fn into_store(self) -> StoreResult<Box<dyn TableStore>> {
        self.as_str().into_store()
    }
}

impl IntoStore for &Path {
    fn into_store(self) -> StoreResult<Box<dyn TableStore>> {
        Ok(Box::new(FileStore::open(self)?))
    }
}

impl IntoStore for PathBuf {
    fn into_store(self) -> StoreResult<Box<dyn TableStore>> {
        self.as_path().into_store()
    }
}

impl IntoStore for &PathBuf {
    fn into_store(self) -> StoreResult<Box<dyn TableStore>> {
        self.as_path().into_store()
    }
}

/// The file that a URL names, without its scheme.
fn open_file(rest: &str) -> StoreResult<FileStore> {
    let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let mut options = FileStore::options();
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        options = match parameter.split_once('=') {
            Some(("read_only", "true")) => options.read_only(true),
            Some(("read_only", "false")) => options.read_only(false),
            Some(("create", "true")) => options.create(true),
            Some(("create", "false")) => options.create(false),
            _ => {
                let why = format!(
                    "file:// has no parameter '{parameter}' (use read_only=true or false, create=true or false)"
                );
                return Err(why.into());
            }
        };
    }
    Ok(options.open(percent_decoded(path)?)?)
}

/// Text with `%20` and the like as what they stand for.
fn percent_decoded(text: &str) -> StoreResult<String> {
    let wrong = || format!("'{text}' has a % that is not followed by two hexadecimal digits of UTF-8 text");
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit)).ok_or_else(wrong)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits)?, 16)?);
        rest = rest.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).map_err(|_| wrong().into())
}
