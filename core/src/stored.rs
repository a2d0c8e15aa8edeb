//! Views of stored tables, and values on their way into a store.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use crate::codec::{self, Links};
use crate::sandbox::{Reach, Shared};
use crate::shared::pause_before_retry;
use crate::store::StoreError;
use crate::tables::{HOME, IO};
use crate::value::{Graph, Node, Slot, Table, Value};
use crate::{Error, ErrorKind, Result, keys};

/// The kept table `_home`.
pub type Home = StoredTable;

/// A live view of a table in the sandbox's store. Cloning gives another view of the same table; while one exists, the
/// table is not removed.
///
/// Every method that reads or writes gives `Busy` while the sandbox runs, `Closed` when it is gone, and `Store` when the store fails.
/// Each write is a transaction of its own: it is there completely or not at all. A host function may use tables of the sandbox that
/// called it; what it writes is kept or dropped with the script's run.
#[derive(Clone)]
pub struct StoredTable(Arc<View>);

struct View {
    sandbox: Weak<Shared>,
    id: u32,
    /// Which tables the number belongs to: a restored sandbox has others.
    era: u64,
    /// Holds an upvalue of a stored function.
    cell: bool,
}

/// How often each table is viewed from the host.
#[derive(Default)]
pub(crate) struct Pins(Mutex<PinsInner>);

#[derive(Default)]
struct PinsInner {
    era: u64,
    counts: HashMap<u32, usize>,
    /// In a sandbox with a seed a view counts as long as there is anything in the table: when tables go, and with them what Lua has in memory, would depend
    /// on when the host lets go. These were viewed, 64 to a word: a script can show any number of tables.
    seen: Option<HashMap<u32, u64>>,
}

/// Where a table is noted: which word, and the bit in it.
const fn bit(id: u32) -> (u32, u64) {
    (id / 64, 1 << (id % 64))
}

impl Pins {
    pub(crate) fn new(keeps: bool) -> Arc<Self> {
        Arc::new(Pins(Mutex::new(PinsInner { seen: keeps.then(HashMap::new), ..PinsInner::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, PinsInner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a view of this table; the present era.
    fn add(&self, id: u32) -> u64 {
        let mut pins = self.lock();
        *pins.counts.entry(id).or_default() += 1;
        if let Some(seen) = &mut pins.seen {
            let (word, bit) = bit(id);
            *seen.entry(word).or_default() |= bit;
        }
        pins.era
    }

    fn remove(&self, id: u32, era: u64) {
        let mut pins = self.lock();
        if pins.era == era
            && let Some(n) = pins.counts.get_mut(&id)
        {
            *n -= 1;
            if *n == 0 {
                pins.counts.remove(&id);
            }
        }
    }

    pub(crate) fn ids(&self) -> Vec<u32> {
        let pins = self.lock();
        let Some(seen) = &pins.seen else {
            return pins.counts.keys().copied().collect();
        };
        seen.iter()
            .flat_map(|(word, bits)| (0..64).filter(move |i| bits >> i & 1 != 0).map(move |i| word * 64 + i))
            .collect()
    }

    /// These are empty, and nothing but a view leads to them.
    pub(crate) fn forget(&self, ids: &[u32]) {
        let mut pins = self.lock();
        let PinsInner { counts, seen: Some(seen), .. } = &mut *pins else {
            return;
        };
        for id in ids.iter().filter(|id| !counts.contains_key(id)) {
            let (word, bit) = bit(*id);
            if let Some(bits) = seen.get_mut(&word) {
                *bits &= !bit;
                if *bits == 0 {
                    seen.remove(&word);
                }
            }
        }
        seen.shrink_to(2 * seen.len());
    }

    /// The highest of them; 0 when there is none.
    pub(crate) fn highest(&self) -> u32 {
        self.lock().counts.keys().copied().max().unwrap_or_default()
    }

    /// From here on numbers mean other tables.
    pub(crate) fn end_era(&self) {
        let mut pins = self.lock();
        pins.era += 1;
        pins.counts.clear();
        if let Some(seen) = &mut pins.seen {
            seen.clear();
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if self.id > IO
            && let Some(shared) = self.sandbox.upgrade()
        {
            shared.pins.remove(self.id, self.era);
        }
    }
}

impl StoredTable {
    pub(crate) fn new(shared: &Arc<Shared>, id: u32, cell: bool) -> Self {
        let era = if id > IO { shared.pins.add(id) } else { 0 };
        StoredTable(Arc::new(View { sandbox: Arc::downgrade(shared), id, era, cell }))
    }

    /// A view of nothing.
    pub(crate) fn detached() -> Self {
        StoredTable(Arc::new(View { sandbox: Weak::new(), id: 7, era: 0, cell: false }))
    }

    pub(crate) fn is_cell(&self) -> bool {
        self.0.cell
    }

    pub(crate) fn belongs_to(&self, shared: &Arc<Shared>) -> bool {
        std::ptr::eq(self.0.sandbox.as_ptr(), Arc::as_ptr(shared))
    }

    /// Gives `Closed` when the number means another table now.
    pub(crate) fn check(&self, shared: &Shared) -> Result<()> {
        if self.0.id > IO && shared.pins.lock().era != self.0.era {
            return Err(Error::new(ErrorKind::Closed, "the table is gone: its sandbox was restored from a snapshot"));
        }
        Ok(())
    }

    /// Uses the sandbox.
    fn access<T>(&self, f: impl FnOnce(&Arc<Shared>, &mut Reach<'_>) -> Result<T>) -> Result<T> {
        let shared = self.0.sandbox.upgrade().ok_or_else(Error::closed)?;
        shared.access(|reach| {
            self.check(&shared)?;
            f(&shared, reach)
        })
    }

    /// The table's number in the store. `_home` is 1.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id
    }

    /// The value under a key; nil when there is none. Nested tables come as live views.
    ///
    /// # Errors
    /// `Conversion` for a key that stored tables can't have (a table, a function), `InvalidArgument` for nil or NaN; see also the type's description.
    pub fn get(&self, key: impl Into<Value>) -> Result<Value> {
        let mut text = String::new();
        keys::encode(&key.into(), &mut text)?;
        self.get_text(&text)
    }

    pub(crate) fn get_text(&self, key: &str) -> Result<Value> {
        self.access(|shared, reach| {
            let mut result = Ok(Value::Nil);
            let links = reach.links(shared)?;
            reach
                .tables()?
                .get(self.0.id, key, &mut |bytes| result = stored_value(bytes, &links, self.0.id, key))
                .map_err(store_error)?;
            result
        })
    }

    /// Sets the value under a key; nil removes it. A nested [`Table`] becomes a stored table itself, deeply, with sharing and cycles.
    ///
    /// # Errors
    /// `Conversion` for a key or value that can't be stored (a function of the running sandbox, for one), naming its place;
    /// `InvalidArgument` for a nil or NaN key or a view of another sandbox's table; see also the type's description.
    pub fn set(&self, key: impl Into<Value>, value: impl Into<Value>) -> Result<()> {
        let key = key.into();
        let mut text = String::new();
        keys::encode(&key, &mut text)?;
        self.set_text(&text, key, value.into())
    }

    pub(crate) fn set_text(&self, key: &str, shown: Value, value: Value) -> Result<()> {
        retrying(|| {
            self.access(|shared, reach| {
                let result = write(reach, shared, self.0.id, key, shown.clone(), value.clone());
                reach.finish_write(result)
            })
        })
    }

    /// Removes a key; whether it was there.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn remove(&self, key: impl Into<Value>) -> Result<bool> {
        let mut text = String::new();
        keys::encode(&key.into(), &mut text)?;
        retrying(|| {
            self.access(|_, reach| {
                let tables = reach.tables()?;
                let there = tables.contains(self.0.id, &text).map_err(store_error)?;
                if there {
                    tables.delete(self.0.id, &text);
                    reach.finish_write(Ok(()))?;
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
            self.access(|_, reach| {
                let tables = reach.tables()?;
                let mut texts = Vec::new();
                tables.keys(self.0.id, &mut |key| texts.push(key.to_owned())).map_err(store_error)?;
                for key in texts {
                    tables.delete(self.0.id, &key);
                }
                reach.finish_write(Ok(()))
            })
        })
    }

    /// The number of entries.
    ///
    /// # Errors
    /// See the type's description.
    pub fn len(&self) -> Result<usize> {
        let n = self.access(|_, reach| reach.tables()?.size(self.0.id).map_err(store_error))?;
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
        self.access(|_, reach| {
            let visit = &mut |key: &str| all.push(keys::decode(key.as_bytes()));
            reach.tables()?.keys(self.0.id, visit).map_err(store_error)
        })?;
        Ok(all)
    }

    /// All entries as they are at this moment. Nested tables come as live views.
    ///
    /// # Errors
    /// See the type's description.
    pub fn entries(&self) -> Result<Vec<(Value, Value)>> {
        self.access(|shared, reach| {
            let links = reach.links(shared)?;
            scan(reach, &links, self.0.id)
        })
    }

    /// All entries as they are at this moment, one after another; the same as going through [`entries`](Self::entries).
    ///
    /// # Errors
    /// See the type's description.
    pub fn iter(&self) -> Result<std::vec::IntoIter<(Value, Value)>> {
        self.entries().map(Vec::into_iter)
    }

    /// A deep copy as a plain table, taken at one moment; sharing and cycles are kept. Stored functions stay what they are.
    ///
    /// # Errors
    /// See the type's description.
    pub fn to_table(&self) -> Result<Table> {
        self.access(|shared, reach| {
            let links = reach.links(shared)?;
            let mut graph = Graph::new();
            let mut numbers = HashMap::from([(self.0.id, graph.add(Node::default())?)]);
            let mut pending = vec![self.0.id];
            while let Some(id) = pending.pop() {
                let number = numbers.get(&id).copied().unwrap_or_default();
                for (key, value) in scan(reach, &links, id)? {
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
                        other => Slot::from_value(other),
                    };
                    graph.put(number, Slot::from_value(key), slot);
                }
            }
            Ok(Table::of_graph(&Arc::new(graph), 0))
        })
    }
}

/// All entries of a table.
fn scan(reach: &mut Reach<'_>, links: &dyn Links, id: u32) -> Result<Vec<(Value, Value)>> {
    let mut all = Ok(Vec::new());
    let visit = &mut |key: &str, bytes: &[u8]| {
        let value = stored_value(bytes, links, id, key);
        match (&mut all, value) {
            (Ok(list), Ok(value)) => list.push((keys::decode(key.as_bytes()), value)),
            (Ok(_), Err(error)) => all = Err(error),
            (Err(_), _) => {}
        }
    };
    reach.tables()?.scan(id, visit).map_err(store_error)?;
    all
}

impl PartialEq for StoredTable {
    /// Whether both are views of the same table.
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id && self.0.era == other.0.era && Weak::ptr_eq(&self.0.sandbox, &other.0.sandbox)
    }
}

impl fmt::Debug for StoredTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.id {
            HOME => f.write_str("table: _home"),
            IO => f.write_str("table: _io"),
            id => write!(f, "table: stored {id}"),
        }
    }
}

/// How often a write from the host is repeated when somebody else was faster.
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

pub(crate) fn store_error(error: StoreError) -> Error {
    let kind = if error.is_conflict() { ErrorKind::Conflict } else { ErrorKind::Store };
    let error = Error::new(kind, error.to_string()).with_boxed_source(error.into_inner());
    error.shown_as("the store failed")
}

/// The one value that is stored under a key.
fn stored_value(bytes: &[u8], links: &dyn Links, table: u32, key: &str) -> Result<Value> {
    let broken = || Error::new(ErrorKind::Store, format!("table {table} holds a malformed value under '{key}'"));
    let mut values = codec::decode(bytes, links).map_err(|_| broken())?.into_iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(broken()),
    }
}

/// A table on its way into the store.
struct Pending {
    table: Table,
    /// Which one holds it, and under which key, for messages.
    parent: Option<usize>,
    key: Value,
}

/// Writes a value, and all tables in it, as part of the present transaction. Nothing is written before everything is known to be storable.
fn write(reach: &mut Reach<'_>, shared: &Arc<Shared>, table: u32, key: &str, shown: Value, value: Value) -> Result<()> {
    let links = reach.links(shared)?;
    if value.is_nil() {
        reach.tables()?.delete(table, key);
        return Ok(());
    }
    let mut bytes = Vec::new();
    let Value::Table(root) = value else {
        codec::encode_stored(&Slot::from_value(value), &mut bytes, &links)
            .map_err(|e| with_path(&e, &[], None, &shown))?;
        return reach.tables()?.set_by_host(table, key, &bytes).map_err(store_error);
    };
    let all = collect(root, shown);
    let count = u32::try_from(all.len()).map_err(|_| Error::conversion("too many tables in one value"))?;
    let first = reach.allocate_ids(count)?;
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
                _ => codec::encode_stored(&Slot::from_value(value), &mut bytes, &links)
                    .map_err(|e| with_path(&e, &all, Some(at), &key))?,
            }
            writes.push((id, text.clone(), bytes.clone()));
        }
    }
    let tables = reach.tables()?;
    bytes.clear();
    codec::encode_reference(first, &mut bytes);
    tables.set_by_host(table, key, &bytes).map_err(store_error)?;
    for (id, key, value) in writes {
        tables.set_by_host(id, &key, &value).map_err(store_error)?;
    }
    Ok(())
}

/// Every table that can be reached from this one.
fn collect(root: Table, key: Value) -> Vec<Pending> {
    let mut seen = std::collections::HashSet::from([root.identity()]);
    let mut all = vec![Pending { table: root, parent: None, key }];
    let mut at = 0;
    while let Some(pending) = all.get(at) {
        let inner: Vec<Pending> = pending
            .table
            .pairs()
            .filter_map(|(key, value)| match value {
                Value::Table(table) if seen.insert(table.identity()) => Some(Pending { table, parent: Some(at), key }),
                _ => None,
            })
            .collect();
        all.extend(inner);
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
    let path = crate::path::path("", path.into_iter());
    Error::new(error.kind(), format!("{} ({})", error.message(), path.trim_start_matches('.')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use crate::{Sandbox, SandboxConfig, Value};

    #[test]
    fn with_a_seed_tables_that_were_shown_are_noted_while_there_is_anything_in_them() {
        let lua = Sandbox::with_config(SandboxConfig::new().deterministic(1)).unwrap();
        lua.register("show", |_: Value| Ok(())).unwrap();
        let noted = |source: &str| {
            let outcome = lua.compute(source).unwrap();
            lua.gc().unwrap();
            (outcome, lua.shared.pins.ids().len())
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
        assert!(lua.shared.pins.lock().seen.as_ref().unwrap().len() < 10);
    }
}
