//! `luacell home`: a kept `_home` from outside.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use luacell::{
    Engine, EngineConfig, Error, ErrorKind, FileStore, ImportOptions, Sandbox, SandboxConfig, StoredTable, Value,
};

use crate::args::{HomeCommand, StoreArgs};
use crate::failure::Failure;
use crate::source::{MOST_DATA, read_to_end};
use crate::{json, output, path, terminal};

/// Runs one of the commands.
pub fn run(command: &HomeCommand) -> Result<(), Failure> {
    match command {
        HomeCommand::Dump { store, file, json } => dump(&open(store, Use::Look)?, file.as_deref(), *json),
        HomeCommand::Load { store, file, trusted, json } => {
            // Before the store is made: wrong input must not leave an empty one behind.
            let content = read(file.as_deref(), *json)?;
            let value = if *json { Some(json::parse_to_keep(&content)?) } else { None };
            load(&open(store, Use::Make)?, &content, *trusted, value)
        }
        HomeCommand::Get { store, path } => {
            let keys = path::parse(path)?;
            let sandbox = open(store, Use::Look)?;
            let value = find(&sandbox, &keys)?;
            output::json(&terminal::json(&json::from_results(&[value])?))
        }
        HomeCommand::Set { store, path, json } => {
            let (keys, value) = (path::parse(path)?, json::parse_to_keep(json.as_bytes())?);
            set(&open(store, Use::Make)?, &keys, value)
        }
        HomeCommand::Keys { store, path } => {
            let keys = path.as_deref().map_or(Ok(Vec::new()), path::parse)?;
            let sandbox = open(store, Use::Look)?;
            let mut text = String::new();
            for key in table(find(&sandbox, &keys)?, &keys)?.keys()? {
                text.push_str(&path::part(&key));
                text.push('\n');
            }
            output::to_stdout(text.as_bytes())
        }
    }
}

/// What is to be done with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is looked at: a file is opened for reading only, since more may not be allowed.
    Look,
    /// Something that is there is changed.
    Change,
    /// It is made if there is none.
    Make,
}

/// A sandbox on the store.
pub fn open(store: &StoreArgs, how: Use) -> Result<Sandbox, Failure> {
    let config = store_for(SandboxConfig::new(), &store.home, how)?;
    Engine::new(EngineConfig::new().pool_size(0))?.sandbox(config).map_err(|error| no_store(&store.home, error))
}

/// Settings with this store.
pub fn store_for(config: SandboxConfig, home: &str, how: Use) -> Result<SandboxConfig, Failure> {
    let is_url = is_file_url(home);
    if how == Use::Make || home.contains("://") && !is_url {
        return Ok(config.store(home));
    }
    if !is_url {
        let options = FileStore::options().read_only(how == Use::Look).create(false);
        return Ok(config.store(options.open(home).map_err(|error| no_store(home, error))?));
    }
    let parameters = match how {
        // Whoever says how it is to be opened has it so.
        Use::Look if !home.contains("read_only=") => "create=false&read_only=true",
        _ => "create=false",
    };
    Ok(config.store(format!("{home}{}{parameters}", if home.contains('?') { '&' } else { '?' })))
}

/// That there is no such file is wrong use, whatever way it is named; anything else is the store's failure.
pub fn no_store(home: &str, error: Error) -> Failure {
    let mut causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let is_missing = causes
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound));
    if is_missing { Failure::Usage(anyhow!("there is no {home}")) } else { error.into() }
}

fn is_file_url(home: &str) -> bool {
    home.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file://"))
}

fn dump(sandbox: &Sandbox, file: Option<&Path>, as_json: bool) -> Result<(), Failure> {
    let json = match as_json {
        true => Some(terminal::json(&json::from_home(&sandbox.home().to_table()?)?)),
        false => None,
    };
    match (json, file) {
        (Some(json), Some(file)) => write(file, format!("{json}\n").as_bytes()),
        (Some(json), None) => output::json(&json),
        (None, Some(file)) => write(file, &sandbox.export_home()?),
        (None, None) if std::io::stdout().is_terminal() => {
            Err(Failure::Usage(anyhow!("a terminal can't show a dump: name a file, or use --json")))
        }
        (None, None) => output::to_stdout(&sandbox.export_home()?),
    }
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if is_store(file) {
        return Err(Failure::Usage(anyhow!(
            "{} is a store, which a dump would replace: name another file",
            file.display()
        )));
    }
    Ok(replace(file, bytes).with_context(|| format!("cannot write {}", file.display()))?)
}

/// What was there before stays until all is written: it may be the last copy.
fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    // A device or a pipe can only be written to. Where nothing is, nothing can be lost.
    if !file.is_file() {
        return std::fs::write(file, bytes);
    }
    // Fails where the file itself may not be written.
    let permissions = File::options().write(true).open(file)?.metadata()?.permissions();
    // Behind a link.
    let file = file.canonicalize()?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::with_prefix_in(".luacell-", folder)?;
    new.as_file_mut().write_all(bytes)?;
    new.as_file().set_permissions(permissions)?;
    new.as_file().sync_all()?;
    new.persist(&file)?;
    Ok(())
}

/// Whether a file is in the format of redb, be it by another name the very store that is open.
fn is_store(file: &Path) -> bool {
    const START: &[u8; 4] = b"redb";
    // A device or a pipe is not looked into.
    if !file.is_file() {
        return false;
    }
    let mut start = [0; START.len()];
    File::open(file).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *START
}

fn read(file: Option<&Path>, as_json: bool) -> anyhow::Result<Vec<u8>> {
    let read = |from: &mut dyn Read| if as_json { read_to_end(from, MOST_DATA) } else { read_blob(from) };
    match file {
        Some(file) => {
            let bytes = File::open(file).and_then(|mut file| read(&mut file));
            bytes.with_context(|| format!("cannot read {}", file.display()))
        }
        None => read(&mut io::stdin().lock()).context("cannot read standard input"),
    }
}

/// A blob says how long it is. What is none is not read any further, and refused when it is loaded.
fn read_blob(from: &mut dyn Read) -> io::Result<Vec<u8>> {
    const LENGTH_AT: u64 = 16;
    let mut bytes = Vec::new();
    from.take(LENGTH_AT + 8).read_to_end(&mut bytes)?;
    let length = bytes.get(LENGTH_AT as usize..).and_then(<[u8]>::first_chunk).copied().map(u64::from_le_bytes);
    if let Some(length) = length.filter(|_| bytes.starts_with(b"LUACELL\n")) {
        from.take(length.min(MOST_DATA).saturating_add(1)).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn load(sandbox: &Sandbox, content: &[u8], trusted: bool, value: Option<Value>) -> Result<(), Failure> {
    let Some(value) = value else {
        return Ok(sandbox.import_home_with(content, &ImportOptions::new().trusted(trusted))?);
    };
    if !matches!(value, Value::Table(_)) {
        return Err(Failure::Usage(anyhow!("_home is a table: expected a JSON object or array")));
    }
    sandbox.set_input(value)?;
    // One run, so one transaction.
    sandbox.compute("for k in pairs(_home) do _home[k] = nil end for k, v in pairs(_io.input) do _home[k] = v end")?;
    Ok(())
}

fn table(value: Value, keys: &[Value]) -> Result<StoredTable, Failure> {
    match value {
        Value::StoredTable(table) => Ok(table),
        other => {
            let message = format!("{} is a {}, not a table", path::show(keys), other.type_name());
            Err(Failure::Lua(Error::new(ErrorKind::Runtime, message)))
        }
    }
}

/// What is at a path; `_home` itself without one.
fn find(sandbox: &Sandbox, keys: &[Value]) -> Result<Value, Failure> {
    let mut value = Value::StoredTable(sandbox.home());
    for (depth, key) in keys.iter().enumerate() {
        value = table(value, keys.get(..depth).unwrap_or_default())?.get(key)?;
    }
    Ok(value)
}

fn set(sandbox: &Sandbox, keys: &[Value], value: Value) -> Result<(), Failure> {
    let Some((last, parents)) = keys.split_last() else { return Ok(()) };
    Ok(table(find(sandbox, parents)?, parents)?.set(last, value)?)
}
