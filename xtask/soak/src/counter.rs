//! Stores that several sandboxes share, each counting in the same place: as many as have succeeded is what has to be
//! there.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result, ensure};
use luacell::{FileStore, RedisStore, Sandbox, SandboxConfig};

enum Store {
    File(Box<FileStore>),
    Server(Box<RedisStore>),
}

pub struct Counter {
    name: &'static str,
    store: Store,
    succeeded: AtomicI64,
}

/// One thread's part in it.
pub struct Part<'a> {
    counter: &'a Counter,
    lua: Sandbox,
}

impl Counter {
    /// One in a file, and one on the server, if there is one.
    pub fn all(folder: &Path, server: Option<&str>) -> Result<Vec<Counter>> {
        let new = |name, store| Counter { name, store, succeeded: AtomicI64::new(0) };
        let mut all = vec![new("file", Store::File(Box::new(FileStore::open(folder.join("shared.luacell"))?)))];
        if let Some(url) = server {
            all.push(new("server", Store::Server(Box::new(RedisStore::open(url)?))));
        }
        Ok(all)
    }

    fn sandbox(&self) -> Result<Sandbox> {
        let config = SandboxConfig::new().conflict_retries(100_000);
        Ok(Sandbox::with_config(match &self.store {
            Store::File(file) => config.store(FileStore::clone(file)),
            Store::Server(server) => config.store(RedisStore::clone(server)),
        })?)
    }

    pub fn join(&self) -> Result<Part<'_>> {
        Ok(Part { counter: self, lua: self.sandbox()? })
    }

    /// After all have ended.
    pub fn check(&self) -> Result<()> {
        let kept: i64 = self.sandbox()?.compute("return _home.total or 0")?.get()?;
        let succeeded = self.succeeded.load(Ordering::Relaxed);
        ensure!(kept == succeeded, "{}: {succeeded} runs have added one, and {kept} is what is kept", self.name);
        println!("{}: {succeeded} runs have added one, none is lost", self.name);
        Ok(())
    }
}

impl Part<'_> {
    /// Adds one; every tenth run fails after it has written.
    pub fn count(&mut self) -> Result<()> {
        let script = "_home.total = (_home.total or 0) + 1 if _home.total % 10 == 0 and not tried then tried = true error('on purpose') end tried = false";
        match self.lua.compute(script) {
            Ok(_) => self.counter.succeeded.fetch_add(1, Ordering::Relaxed),
            Err(error) if error.message().contains("on purpose") => 0,
            Err(error) => return Err(error).with_context(|| self.counter.name),
        };
        Ok(())
    }
}
