//! A stored table as a plain one.

use std::collections::HashMap;
use std::sync::Arc;

use super::access::Access;
use super::sandbox_cell::SandboxCell;
use crate::value::codec::{self, Resolver};
use crate::value::{Error, ErrorKind, Graph, Node, Result, Slot, StoredTable, Table, Value, keys};

/// A deep copy, taken at one moment; sharing and cycles are kept. Stored functions stay what they are.
pub(super) fn copy_table(cell: &Arc<SandboxCell>, table: &StoredTable) -> Result<Table> {
    cell.access(|access| {
        table.check(&**cell)?;
        let resolver = access.resolver(cell)?;
        let mut graph = Graph::new();
        let mut numbers = HashMap::from([(table.id(), graph.add(Node::default())?)]);
        let mut pending = vec![table.id()];
        while let Some(id) = pending.pop() {
            let number = numbers.get(&id).copied().unwrap_or_default();
            for (key, value) in scan(access, &resolver, id)? {
                let slot = match value {
                    Value::StoredTable(inner) => {
                        let next = match numbers.get(&inner.id()) {
                            Some(next) => *next,
                            None => {
                                let next = graph.add(Node::default())?;
                                numbers.insert(inner.id(), next);
                                pending.push(inner.id());
                                next
                            }
                        };
                        Slot::Node(next)
                    }
                    other => Slot::Value(other),
                };
                graph.put(number, Slot::Value(key), slot);
            }
        }
        Ok(Table::of_graph(&Arc::new(graph), 0))
    })
}

/// All entries of a table.
pub(crate) fn scan(access: &mut Access<'_>, resolver: &dyn Resolver, id: u32) -> Result<Vec<(Value, Value)>> {
    let mut all = Ok(Vec::new());
    let visit = &mut |key: &str, bytes: &[u8]| {
        let value = stored_value(bytes, resolver, id, key);
        match (&mut all, value) {
            (Ok(list), Ok(value)) => list.push((keys::decode(key.as_bytes()), value)),
            (Ok(_), Err(error)) => all = Err(error),
            (Err(_), _) => {}
        }
    };
    access.tables()?.scan(id, visit)?;
    all
}

/// The one value that is stored under a key.
pub(crate) fn stored_value(bytes: &[u8], resolver: &dyn Resolver, table: u32, key: &str) -> Result<Value> {
    let broken = || Error::new(ErrorKind::Store, format!("table {table} holds a malformed value under '{key}'"));
    let mut values = codec::decode(bytes, resolver).map_err(|_| broken())?.into_iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(broken()),
    }
}
