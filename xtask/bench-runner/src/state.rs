//! Stores, beside what they are built on.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use luacell::{Durability, Engine, FileStore, SandboxConfig};
use redb::{Database, ReadableDatabase, TableDefinition};

/// Commits go round over so many keys.
const KEYS: u32 = 10_000;

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");

/// Nanoseconds of wall time for each of `count`; `None` when the mode is not one of these.
pub fn measure(engine: &Engine, mode: &str, count: u32) -> Result<Option<f64>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bench");
    let nanoseconds = match mode {
        "store-durable" => store(engine, &path, count, Durability::Full)?,
        "store-relaxed" => store(engine, &path, count, Durability::Relaxed)?,
        "redb-durable" => raw(&path, count, redb::Durability::Immediate)?,
        "redb-relaxed" => raw(&path, count, redb::Durability::None)?,
        "snapshot" | "restore" | "fork" | "snapshot-bytes" => snapshot(engine, mode, count)?,
        "table-get" | "table-set" | "table-pairs" => table(engine, mode, count)?,
        "store-open" => store_open(engine, &path, count)?,
        "redb-open" => raw_open(&path, count)?,
        _ => return Ok(None),
    };
    Ok(Some(nanoseconds))
}

fn key(i: u32) -> String {
    format!("key {}", i % KEYS)
}

/// As an integer is stored.
fn value(i: u32) -> [u8; 9] {
    let mut value = [2; 9];
    if let Some(number) = value.last_chunk_mut() {
        *number = u64::from(i).to_le_bytes();
    }
    value
}

fn store(engine: &Engine, path: &Path, count: u32, durability: Durability) -> Result<f64> {
    let store = FileStore::options().durability(durability).open(path)?;
    let sandbox = engine.sandbox(SandboxConfig::new().store(store))?;
    sandbox
        .compute(format!("for i = 0, {KEYS} - 1 do _home['key ' .. i] = i end function set(k, i) _home[k] = i end"))?;
    each(count, |i| {
        sandbox.call("set", (key(i), i))?;
        Ok(())
    })
}

fn raw(path: &Path, count: u32, durability: redb::Durability) -> Result<f64> {
    let database = Database::create(path)?;
    fill(&database, KEYS)?;
    each(count, |i| {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(durability)?;
        transaction.open_table(TABLE)?.insert(key(i).as_str(), value(i).as_slice())?;
        transaction.commit()?;
        Ok(())
    })
}

fn fill(database: &Database, count: u32) -> Result<()> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(TABLE)?;
        for i in 0..count {
            table.insert(format!("key {i}").as_str(), value(i).as_slice())?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn store_open(engine: &Engine, path: &Path, count: u32) -> Result<f64> {
    engine
        .sandbox(SandboxConfig::new().store(path))?
        .compute(format!("for i = 0, {count} - 1 do _home['key ' .. i] = i end"))?;
    let start = Instant::now();
    let sandbox = engine.sandbox(SandboxConfig::new().store(path))?;
    let found = sandbox.compute("return _home['key 7']")?.get::<i64>()?;
    let nanoseconds = start.elapsed().as_nanos() as f64;
    ensure!(found == 7, "the store holds something else");
    Ok(nanoseconds)
}

fn raw_open(path: &Path, count: u32) -> Result<f64> {
    fill(&Database::create(path)?, count)?;
    let start = Instant::now();
    let database = Database::open(path)?;
    let found = database.begin_read()?.open_table(TABLE)?.get("key 7")?.is_some();
    let nanoseconds = start.elapsed().as_nanos() as f64;
    ensure!(found, "the file holds something else");
    Ok(nanoseconds)
}

/// A sandbox that has run something small is copied or goes back; or how many bytes that is.
fn snapshot(engine: &Engine, mode: &str, count: u32) -> Result<f64> {
    let sandbox = engine.sandbox(SandboxConfig::new())?;
    sandbox.compute("x = 1 + 1 return x")?;
    let snapshot = sandbox.snapshot()?;
    match mode {
        "snapshot" => each(count, |_| sandbox.snapshot().map(drop).map_err(Into::into)),
        "restore" => each(count, |_| Ok(sandbox.restore(&snapshot)?)),
        "fork" => each(count, |_| sandbox.fork().map(drop).map_err(Into::into)),
        _ => Ok(snapshot.to_bytes()?.len() as f64),
    }
}

/// Reads, writes or iterates a kept table in memory from inside Lua; nanoseconds for each operation, without the loop's
/// own.
fn table(engine: &Engine, mode: &str, count: u32) -> Result<f64> {
    const KEYS: u32 = 100_000;
    let sandbox = engine.sandbox(SandboxConfig::new())?;
    let size = if mode == "table-pairs" { KEYS } else { 1000 };
    sandbox.compute(format!("_home.t = {{}} local t = _home.t for i = 1, {size} do t[i] = i end"))?;
    let (work, per_round) = match mode {
        "table-get" => ("local t, x = _home.t for i = 1, 1000 do x = t[i] end", 1000),
        "table-set" => ("local t = _home.t for i = 1, 1000 do t[i] = i end", 1000),
        _ => ("local n = 0 for k, v in pairs(_home.t) do n = n + v end assert(n > 0)", KEYS),
    };
    let nanoseconds = each(count, |_| sandbox.compute(work).map(drop).map_err(Into::into))?;
    Ok(nanoseconds / f64::from(per_round))
}

/// Mean wall time, after a tenth as many that do not count.
fn each(count: u32, mut call: impl FnMut(u32) -> Result<()>) -> Result<f64> {
    for i in 0..count / 10 {
        call(i)?;
    }
    let start = Instant::now();
    for i in 0..count {
        call(i)?;
    }
    Ok(start.elapsed().as_nanos() as f64 / f64::from(count))
}
