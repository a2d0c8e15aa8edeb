//! One sandbox, and what it has to hold.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use luacell::{
    Durability, Engine, Error, ErrorKind, FileStore, Function, ImportOptions, RestoreOptions, Sandbox, SandboxConfig,
    Snapshot, StoreLimit, Value,
};

use crate::own_store::Maps;
use crate::promises::{ATTEMPTS, LIST_FUNCTIONS, Then, WAYS, call, script};
use crate::scripts::{BEGIN, HOSTILE, KEEP, STEAL};

/// Where a sandbox keeps its tables.
#[derive(Clone)]
pub enum Home {
    Memory,
    Own,
    File(PathBuf),
}

pub struct Cell {
    home: Home,
    lua: Option<Sandbox>,
    secret: String,
    /// What `_home.n` is.
    count: i64,
}

fn limits() -> SandboxConfig {
    SandboxConfig::new()
        .memory_limit(2 << 20)
        .instruction_limit(300_000)
        .timeout(Duration::from_secs(30))
        .output_limit(64 << 10)
        .store_limit(StoreLimit::new(256 << 10, 2_000))
        .host_call_limit(200)
        .source_limit(64 << 10)
}

/// The host's side of a sandbox.
fn equip(lua: &Sandbox, secret: &str) -> Result<()> {
    let answer = secret.to_owned();
    lua.register("secret", move |()| Ok(answer.clone()))?;
    // For the scripts of the promises.
    lua.register("host", |values: Vec<Value>| Ok(values))?;
    lua.register("fail", |()| Err::<(), _>(Error::host("no")))?;
    lua.register("call", |f: Function| Ok(f.call(())?.values))?;
    let interrupter = lua.interrupter();
    lua.register("stop", move |()| {
        interrupter.interrupt();
        Ok(())
    })?;
    Ok(())
}

impl Cell {
    pub fn new(home: Home, secret: String) -> Result<Cell> {
        let config = match &home {
            Home::Memory => limits(),
            Home::Own => limits().store(Maps::default()),
            Home::File(path) => limits().store(file(path)?),
        };
        let lua = Sandbox::with_config(config)?;
        equip(&lua, &secret)?;
        lua.compute(BEGIN)?;
        lua.compute(KEEP)?;
        Ok(Cell { home, lua: Some(lua), secret, count: 0 })
    }

    fn lua(&self) -> Result<&Sandbox> {
        self.lua.as_ref().context("the sandbox is gone")
    }

    /// A script that behaves, and what it has to give.
    pub fn good(&mut self, rng: &mut Rng) -> Result<()> {
        let k = rng.i64(1..1000);
        let outcome = self.lua()?.call("add", (k,))?;
        self.count += k;
        let secret = || Value::from(self.secret.as_str());
        let wanted = [Value::from(self.count), secret(), secret(), secret()];
        ensure!(outcome.values == wanted, "{:?} instead of {wanted:?}", outcome.values);
        if k % 50 == 0 {
            ensure!(self.lua()?.call("work", (k,))?.get::<i64>()? == k, "work did something else");
        }
        Ok(())
    }

    /// A script that does not.
    pub fn hostile(&mut self, rng: &mut Rng) -> Result<()> {
        let script = HOSTILE.get(rng.usize(..HOSTILE.len())).copied().unwrap_or_default();
        let result = self.lua()?.compute(format!("{STEAL}{script}"));
        self.stopped(script, result.map(|_| ()))?;
        if script.starts_with("string = nil") {
            self.reset()?;
        }
        Ok(())
    }

    /// One of the scripts that the tests of promises are made of; it may come to its end, and spoils what is global.
    pub fn promise(&mut self, rng: &mut Rng) -> Result<()> {
        let source = promise(rng)?;
        let result = self.lua()?.compute(format!("{STEAL}(function(...) {source}\nend)() error('the end')"));
        self.stopped(&source, result.map(|_| ()))?;
        self.reset()
    }

    fn stopped(&self, script: &str, result: luacell::Result<()>) -> Result<()> {
        match result.as_ref().map_err(Error::kind) {
            Ok(()) => anyhow::bail!("this got to its end: {script}"),
            Err(kind @ (ErrorKind::Trap | ErrorKind::Internal | ErrorKind::Store | ErrorKind::Timeout)) => {
                anyhow::bail!("{kind} by {script}: {result:?}")
            }
            Err(_) => Ok(()),
        }
    }

    /// A script that somebody interrupts.
    pub fn interrupted(&mut self) -> Result<()> {
        let script = "stop() while true do end";
        let result = self.lua()?.compute(format!("{STEAL}{script}"));
        let kind = result.as_ref().map_err(Error::kind);
        ensure!(kind.is_err_and(|kind| kind == ErrorKind::Interrupted), "{script} gave {result:?}");
        Ok(())
    }

    /// To a snapshot and back, sometimes as bytes and into a new sandbox.
    pub fn there_and_back(&mut self, rng: &mut Rng) -> Result<()> {
        let (snapshot, count) = (self.lua()?.snapshot()?, self.count);
        self.good(rng)?;
        if matches!(self.home, Home::Memory) && rng.bool() {
            let engine = Engine::default();
            let lua = engine.sandbox_from(&Snapshot::from_bytes(&engine, &snapshot.to_bytes()?)?, limits())?;
            equip(&lua, &self.secret)?;
            self.lua = Some(lua);
        } else {
            self.lua()?.restore_with(&snapshot, &RestoreOptions::new().tables(true))?;
        }
        self.count = count;
        self.good(rng)
    }

    /// What is in a file is there when it is opened again; what is in memory goes through an export.
    pub fn reopen(&mut self) -> Result<()> {
        let blob = self.lua()?.export_home()?;
        match &self.home {
            Home::File(path) => {
                self.lua = None;
                self.lua = Some(Sandbox::with_config(limits().store(file(path)?))?);
            }
            Home::Own => self.lua()?.import_home_with(&blob, &ImportOptions::new().trusted(true))?,
            Home::Memory => {
                let lua = Sandbox::with_config(limits())?;
                lua.import_home_with(&blob, &ImportOptions::new().trusted(true))?;
                self.lua = Some(lua);
            }
        }
        equip(self.lua()?, &self.secret)?;
        self.lua()?.compute(BEGIN)?;
        Ok(())
    }

    /// Globals go, kept tables stay.
    pub fn reset(&mut self) -> Result<()> {
        self.lua()?.reset()?;
        self.lua()?.compute(BEGIN)?;
        self.lua()?.gc()?;
        Ok(())
    }

    /// A second sandbox with the same contents.
    pub fn fork(&self) -> Result<Cell> {
        let lua = self.lua()?.fork()?;
        // Its own functions: those that it got stop the other one.
        equip(&lua, &self.secret)?;
        Ok(Cell { home: Home::Memory, lua: Some(lua), secret: self.secret.clone(), count: self.count })
    }

    /// Ends the sandbox, and begins one with another secret in its place.
    pub fn replace(&mut self, secret: String) -> Result<()> {
        self.lua = None;
        if let Home::File(path) = &self.home {
            std::fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
        }
        *self = Cell::new(self.home.clone(), secret)?;
        Ok(())
    }
}

/// What a script of the tests of promises says.
fn promise(rng: &mut Rng) -> Result<String> {
    static FUNCTIONS: OnceLock<Vec<String>> = OnceLock::new();
    let ways: Vec<_> = WAYS.iter().filter(|way| way.then == Then::Nothing && !way.waits).collect();
    let way = rng.choice(ways).context("no way")?;
    if rng.bool() {
        return Ok(script(way, rng.choice(ATTEMPTS).context("no attempt")?.body));
    }
    if FUNCTIONS.get().is_none() {
        let names = Sandbox::new()?.compute(LIST_FUNCTIONS)?.values;
        let _ = FUNCTIONS.set(names.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    }
    let function = rng.choice(FUNCTIONS.get().context("no functions")?).context("no function")?;
    Ok(script(way, &call(function, "while true", |n| rng.usize(..n))))
}

/// Not on the disk at once: that is what `counter` does.
fn file(path: &PathBuf) -> Result<FileStore> {
    Ok(FileStore::options().durability(Durability::Relaxed).cache_size(1 << 20).open(path)?)
}
