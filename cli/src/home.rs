//! `luacell home`: a kept `_home` from outside.

use std::io::{IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, anyhow};
use luacell::{Engine, EngineConfig, Error, ErrorKind, Sandbox, SandboxConfig, StoredTable, Value};

use crate::args::{HomeCommand, StoreArgs};
use crate::failure::Failure;
use crate::{json, output};

/// Runs one of the commands.
pub fn run(command: &HomeCommand) -> Result<(), Failure> {
    match command {
        HomeCommand::Dump { store, file, json } => dump(&open(store, false)?, file.as_deref(), *json),
        HomeCommand::Load { store, file, json } => {
            // Before the store is made: wrong input must not leave an empty one behind.
            let content = read(file.as_deref())?;
            let value = if *json { Some(json::parse(&content)?) } else { None };
            load(&open(store, true)?, &content, value)
        }
        HomeCommand::Get { store, path } => {
            let sandbox = open(store, false)?;
            let value = find(&sandbox, Some(path))?;
            output::json(&json::from_results(&[value])?)
        }
        HomeCommand::Set { store, path, json } => {
            let value = json::parse(json.as_bytes())?;
            set(&open(store, true)?, path, value)
        }
        HomeCommand::Keys { store, path } => {
            let sandbox = open(store, false)?;
            let table = table(find(&sandbox, path.as_deref())?, path.as_deref().unwrap_or_default())?;
            let mut text = Vec::new();
            for key in table.keys()? {
                text.extend(crate::show::result(&key));
                text.push(b'\n');
            }
            output::script_text(&text, false)
        }
    }
}

/// A sandbox on the store. A file that is not there is made only for what writes.
fn open(store: &StoreArgs, make: bool) -> Result<Sandbox, Failure> {
    if !make && !store.home.contains("://") && !Path::new(&store.home).exists() {
        return Err(Failure::Usage(anyhow!("there is no {}", store.home)));
    }
    let config = SandboxConfig::new().store(store.home.as_str());
    Ok(Engine::new(EngineConfig::new().pool_size(0))?.sandbox(config)?)
}

fn dump(sandbox: &Sandbox, file: Option<&Path>, as_json: bool) -> Result<(), Failure> {
    let json = as_json.then(|| json::from_results(&[Value::StoredTable(sandbox.home())])).transpose()?;
    match (json, file) {
        (Some(json), Some(file)) => write(file, format!("{json}\n").as_bytes()),
        (Some(json), None) => output::json(&json),
        (None, Some(file)) => write(file, &sandbox.export_home()?),
        (None, None) if std::io::stdout().is_terminal() => {
            Err(Failure::Usage(anyhow!("this is nothing for a terminal: name a file, or use --json")))
        }
        (None, None) => output::to_stdout(&sandbox.export_home()?),
    }
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    Ok(std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))?)
}

fn read(file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    match file {
        Some(file) => std::fs::read(file).with_context(|| format!("cannot read {}", file.display())),
        None => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
            Ok(bytes)
        }
    }
}

fn load(sandbox: &Sandbox, content: &[u8], value: Option<Value>) -> Result<(), Failure> {
    let Some(value) = value else {
        return Ok(sandbox.import_home(content)?);
    };
    if !matches!(value, Value::Table(_)) {
        return Err(Failure::Usage(anyhow!("_home is a table: a JSON object or array is expected")));
    }
    sandbox.set_input(value)?;
    // One run, so one transaction.
    sandbox.compute("for k in pairs(_home) do _home[k] = nil end for k, v in pairs(_io.input) do _home[k] = v end")?;
    Ok(())
}

/// The key that a part of a path means.
fn key(part: &str) -> Value {
    match part.parse::<i64>() {
        Ok(number) if number.to_string() == part => Value::Integer(number),
        _ => Value::from(part),
    }
}

fn table(value: Value, path: &str) -> Result<StoredTable, Failure> {
    match value {
        Value::StoredTable(table) => Ok(table),
        other => {
            Err(Failure::Lua(Error::new(ErrorKind::Runtime, format!("{path} is a {}, not a table", other.type_name()))))
        }
    }
}

/// What is at a path; `_home` itself without one.
fn find(sandbox: &Sandbox, path: Option<&str>) -> Result<Value, Failure> {
    let mut value = Value::StoredTable(sandbox.home());
    let mut way = String::from("_home");
    for part in path.into_iter().flat_map(|path| path.split('.')) {
        value = table(value, &way)?.get(key(part))?;
        way = format!("{way}.{part}");
    }
    Ok(value)
}

fn set(sandbox: &Sandbox, path: &str, value: Value) -> Result<(), Failure> {
    let (parent, last) = match path.rsplit_once('.') {
        Some((parent, last)) => (find(sandbox, Some(parent))?, last),
        None => (Value::StoredTable(sandbox.home()), path),
    };
    Ok(table(parent, path)?.set(key(last), value)?)
}
