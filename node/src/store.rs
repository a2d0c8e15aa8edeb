//! A user's store: an object with five methods.

use std::sync::Arc;

use luacell::{ErrorKind, StoreError, StoreResult, TableStore, Value};

use crate::bridge::{Bridge, Topic};
use crate::handles::Handles;
use crate::value::{ToJs, encode};

#[derive(Clone, Copy)]
enum Operation {
    Get = 0,
    Set = 1,
    Delete = 2,
    Size = 3,
    Keys = 4,
}

/// The store of a sandbox, in JavaScript.
pub(crate) struct OwnStore {
    bridge: Arc<Bridge>,
    sandbox: u32,
    /// Stores see no functions and no tables; one may answer with them all the same.
    handles: Arc<Handles>,
}

impl OwnStore {
    pub(crate) fn new(bridge: &Arc<Bridge>, sandbox: u32) -> Self {
        OwnStore { bridge: Arc::clone(bridge), sandbox, handles: Arc::new(Handles::new(Some(bridge))) }
    }

    fn ask(&self, operation: Operation, args: &[Value]) -> StoreResult<Vec<Value>> {
        let args = ToJs::Bytes(encode(args, &self.handles)?);
        let answer = self.bridge.ask_now(Topic::Store, self.sandbox, operation as u32, args, &self.handles);
        answer.map_err(|error| match error.kind() {
            ErrorKind::Conflict => StoreError::conflict(error),
            _ => error.into(),
        })
    }
}

fn table_value(table: u32) -> Value {
    Value::Integer(table.into())
}

impl TableStore for OwnStore {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        match self.ask(Operation::Get, &[table_value(table), key.into()])?.first() {
            None | Some(Value::Nil) => Ok(false),
            Some(Value::String(bytes)) => {
                read(bytes.as_bytes());
                Ok(true)
            }
            Some(_) => Err("the store's get has to return bytes or undefined".into()),
        }
    }

    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.ask(Operation::Set, &[table_value(table), key.into(), value.into()]).map(drop)
    }

    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.ask(Operation::Delete, &[table_value(table), key.into()]).map(drop)
    }

    fn size(&mut self, table: u32) -> StoreResult<u64> {
        let answer = self.ask(Operation::Size, &[table_value(table)])?;
        let size = answer.first().and_then(Value::as_integer).and_then(|n| u64::try_from(n).ok());
        size.ok_or_else(|| "the store's size has to return a number".into())
    }

    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        let answer = self.ask(Operation::Keys, &[table_value(table)])?;
        let keys = answer.first().and_then(Value::as_table).ok_or("the store's keys has to return a list of text")?;
        for key in keys.sequence() {
            visit(key.as_str().ok_or("the store's keys has to return a list of text")?);
        }
        Ok(())
    }
}
