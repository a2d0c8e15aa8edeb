//! Reading and writing stored tables from the host.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::run::SandboxCell;
use crate::run::access::Access;
use crate::run::copy_table::{scan, stored_value};
use crate::run::retry::pause_before_retry;
use crate::value::{Error, ErrorKind, Result, Slot, StoredTable, Table, Value, codec, keys};

impl StoredTable {
    /// Uses the sandbox.
    fn access<T>(&self, f: impl FnOnce(&Arc<SandboxCell>, &mut Access<'_>) -> Result<T>) -> Result<T> {
        let cell = SandboxCell::of(self.owner()?)?;
        cell.access(|access| {
            self.check(&*cell)?;
            f(&cell, access)
        })
    }

    /// The value under a key; nil if there is none. Nested tables are returned as live views.
    ///
    /// # Errors
    /// `Conversion` for a key that stored tables can't have (a table, a function), `InvalidArgument` for nil or NaN;
    /// see also the type's description.
    pub fn get(&self, key: impl Into<Value>) -> Result<Value> {
        let mut text = String::new();
        keys::encode(&key.into(), &mut text)?;
        self.get_text(&text)
    }

    pub(crate) fn get_text(&self, key: &str) -> Result<Value> {
        self.access(|cell, access| {
            let mut result = Ok(Value::Nil);
            let resolver = access.resolver(cell)?;
            access
                .tables()?
                .get(self.id(), key, &mut |bytes| result = stored_value(bytes, &resolver, self.id(), key))?;
            result
        })
    }

    /// Sets the value under a key; nil removes it. A nested [`Table`] becomes a stored table too, at every level, with
    /// sharing and cycles.
    ///
    /// # Errors
    /// `Conversion` for a key or value that can't be stored (such as a function of the running sandbox), naming its
    /// place; `InvalidArgument` for a nil or NaN key or a view of another sandbox's table; see also the type's
    /// description.
    pub fn set(&self, key: impl Into<Value>, value: impl Into<Value>) -> Result<()> {
        let key = key.into();
        let mut text = String::new();
        keys::encode(&key, &mut text)?;
        self.set_text(&text, key, value.into())
    }

    pub(crate) fn set_text(&self, key: &str, shown: Value, value: Value) -> Result<()> {
        retrying(|| {
            self.access(|cell, access| {
                let result = write(access, cell, self.id(), key, shown.clone(), value.clone());
                access.finish_write(result)
            })
        })
    }

    /// Removes a key. Returns whether it was there.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn remove(&self, key: impl Into<Value>) -> Result<bool> {
        let mut text = String::new();
        keys::encode(&key.into(), &mut text)?;
        retrying(|| {
            self.access(|_, access| {
                let tables = access.tables()?;
                let there = tables.contains(self.id(), &text)?;
                if there {
                    tables.delete(self.id(), &text);
                    access.finish_write(Ok(()))?;
                }
                Ok(there)
            })
        })
    }

    /// Removes all entries.
    ///
    /// # Errors
    /// See the type's description.
    pub fn clear(&self) -> Result<()> {
        retrying(|| {
            self.access(|_, access| {
                let tables = access.tables()?;
                let mut texts = Vec::new();
                tables.keys(self.id(), &mut |key| texts.push(key.to_owned()))?;
                for key in texts {
                    tables.delete(self.id(), &key);
                }
                access.finish_write(Ok(()))
            })
        })
    }

    /// The number of entries.
    ///
    /// # Errors
    /// See the type's description.
    pub fn len(&self) -> Result<usize> {
        let n = self.access(|_, access| access.tables()?.size(self.id()).map_err(Error::from))?;
        Ok(usize::try_from(n).unwrap_or(usize::MAX))
    }

    /// Whether there are no entries.
    ///
    /// # Errors
    /// See the type's description.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// All keys, in the store's order.
    ///
    /// # Errors
    /// See the type's description.
    pub fn keys(&self) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        self.access(|_, access| {
            let visit = &mut |key: &str| all.push(keys::decode(key.as_bytes()));
            access.tables()?.keys(self.id(), visit).map_err(Error::from)
        })?;
        Ok(all)
    }

    /// All entries as they are at this moment. Nested tables are returned as live views.
    ///
    /// # Errors
    /// See the type's description.
    pub fn entries(&self) -> Result<Vec<(Value, Value)>> {
        self.access(|cell, access| {
            let resolver = access.resolver(cell)?;
            scan(access, &resolver, self.id())
        })
    }

    /// All entries as they are at this moment, one after another; the same as going through [`entries`](Self::entries).
    ///
    /// # Errors
    /// See the type's description.
    pub fn iter(&self) -> Result<std::vec::IntoIter<(Value, Value)>> {
        self.entries().map(Vec::into_iter)
    }
}

/// How often a write from the host is repeated if somebody else was faster.
const RETRIES: u32 = 100;

/// Repeats a write from the host after a conflict.
pub(crate) fn retrying<T>(write: impl Fn() -> Result<T>) -> Result<T> {
    let mut tries = 0;
    loop {
        match write() {
            Err(error) if error.kind() == ErrorKind::Conflict && tries < RETRIES => {
                tries += 1;
                std::thread::sleep(pause_before_retry(tries).saturating_duration_since(Instant::now()));
            }
            result => return result,
        }
    }
}

/// A table on its way into the store.
struct Pending {
    table: Table,
    /// Which table holds it, and under which key, for messages.
    parent: Option<usize>,
    key: Value,
}

/// Writes a value, and all tables in it, as part of the current transaction. Nothing is written until it is known that
/// everything can be stored.
fn write(
    access: &mut Access<'_>,
    cell: &Arc<SandboxCell>,
    table: u32,
    key: &str,
    shown: Value,
    value: Value,
) -> Result<()> {
    let resolver = access.resolver(cell)?;
    if value.is_nil() {
        access.tables()?.delete(table, key);
        return Ok(());
    }
    let mut bytes = Vec::new();
    let Value::Table(root) = value else {
        codec::encode_stored(&Slot::Value(value), &mut bytes, &resolver)
            .map_err(|e| with_path(&e, &[], None, &shown))?;
        return access.tables()?.set_by_host(table, key, &bytes).map_err(Error::from);
    };
    let all = collect(root, shown);
    let count = u32::try_from(all.len()).map_err(|_| Error::conversion("too many tables in one value"))?;
    let first = access.allocate_ids(count)?;
    let numbers: HashMap<(usize, u32), u32> =
        all.iter().zip(first..).map(|(pending, id)| (pending.table.identity(), id)).collect();
    let mut text = String::new();
    let mut writes = Vec::new();
    for (at, id) in (0..all.len()).zip(first..) {
        let Some(pending) = all.get(at) else { break };
        for (key, value) in pending.table.pairs() {
            keys::encode(&key, &mut text).map_err(|e| with_path(&e, &all, Some(at), &key))?;
            bytes.clear();
            match &value {
                Value::Table(t) => {
                    codec::encode_reference(numbers.get(&t.identity()).copied().unwrap_or_default(), &mut bytes)
                }
                _ => codec::encode_stored(&Slot::Value(value), &mut bytes, &resolver)
                    .map_err(|e| with_path(&e, &all, Some(at), &key))?,
            }
            writes.push((id, text.clone(), bytes.clone()));
        }
    }
    let tables = access.tables()?;
    bytes.clear();
    codec::encode_reference(first, &mut bytes);
    tables.set_by_host(table, key, &bytes)?;
    for (id, key, value) in writes {
        tables.set_by_host(id, &key, &value)?;
    }
    Ok(())
}

/// Every table that can be reached from this one.
fn collect(root: Table, key: Value) -> Vec<Pending> {
    let mut seen = std::collections::HashSet::from([root.identity()]);
    let mut all = vec![Pending { table: root, parent: None, key }];
    let mut at = 0;
    while let Some(pending) = all.get(at) {
        let state: Vec<Pending> = pending
            .table
            .pairs()
            .filter_map(|(key, value)| match value {
                Value::Table(table) if seen.insert(table.identity()) => Some(Pending { table, parent: Some(at), key }),
                _ => None,
            })
            .collect();
        all.extend(state);
        at += 1;
    }
    all
}

/// The error with the place at which it happened.
fn with_path(error: &Error, all: &[Pending], mut parent: Option<usize>, key: &Value) -> Error {
    let mut path = vec![key.clone()];
    while let Some(pending) = parent.and_then(|i| all.get(i)) {
        path.push(pending.key.clone());
        parent = pending.parent;
    }
    path.reverse();
    let path = crate::value::path::path("", path.into_iter());
    Error::new(error.kind(), format!("{} ({})", error.message(), path.trim_start_matches('.')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use crate::api::{Sandbox, SandboxConfig};
    use crate::value::Value;

    #[test]
    fn with_a_seed_tables_that_were_shown_are_noted_while_there_is_anything_in_them() {
        let lua = Sandbox::with_config(SandboxConfig::new().deterministic(1)).unwrap();
        lua.register("show", |_: Value| Ok(())).unwrap();
        let noted = |source: &str| {
            let outcome = lua.compute(source).unwrap();
            lua.gc().unwrap();
            (outcome, lua.cell().held.tables.ids().len())
        };
        let (viewed, n) = noted("local t = ext.table() show(t) return t");
        assert_eq!(n, 1);
        assert_eq!(noted("for i = 1, 2000 do show(ext.table()) end").1, 1);
        assert_eq!(noted("for i = 1, 2000 do local t = ext.table() t.x = 1 show(t) t.x = nil end").1, 1);
        drop(viewed);
        assert_eq!(noted("").1, 0);
        assert_eq!(noted("for i = 1, 100 do local t = ext.table() t.x = 1 show(t) end").1, 100);
        // What something leads to may get entries again.
        assert_eq!(noted("held = ext.table() show(held)").1, 101);
        assert_eq!(noted("_home.t = ext.table() show(_home.t)").1, 102);
        assert_eq!(noted("_home.t.x = 1 _home.t = nil held.x = 1 held = nil").1, 102);
        // Far apart in numbers, and small all the same.
        assert!(lua.cell().held.tables.seen_words() < 10);
    }
}
