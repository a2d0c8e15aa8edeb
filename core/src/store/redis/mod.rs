//! Tables on a Redis or Valkey server, shared by many hosts.

mod address;
mod pool;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::Value;
use ahash::HashMap;

use self::pool::Pool;
use super::{Batch, CancelToken, StoreError, StoreResult, TableStore, Write};
use crate::Result;
use crate::stored::store_error;
use crate::tables::FIRST_FREE;

/// A table with at most so many entries, and bytes, comes over as a whole when one of its entries is read.
const SMALL_ENTRIES: u32 = 128;
const SMALL_BYTES: u32 = 64 << 10;

/// At most so many of the things that the last run read are fetched at the first look of the next one.
const MAX_EXPECTED: usize = 1000;

/// The bytes of an entry that tell which commit wrote it.
const VERSION: usize = 8;

/// How a [`RedisStore`] is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RedisOptions {
    namespace: Option<String>,
    timeout: Duration,
    root_certificate: Option<Vec<u8>>,
}

impl RedisOptions {
    /// What separates this `_home` from others on the server. All keys begin with the namespace in braces, so that on a cluster they are in one slot.
    /// Default: the URL's `namespace=`, or `luacell`.
    #[must_use]
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = Some(name.into());
        self
    }

    /// How long a request may take, connecting included. A run's own timeout, and an interrupt, end its reading sooner. Default 5 seconds, at most a day.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.clamp(Duration::from_millis(1), Duration::from_secs(24 * 60 * 60));
        self
    }

    /// The certificate, in PEM form, that the server's has to be signed by, for `rediss://`. Default: those that the system trusts.
    #[must_use]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificate = Some(pem.into());
        self
    }

    /// Opens the store: `redis://[user:password@]host[:port][/number][?namespace=name]`, `rediss://` for TLS; `valkey://` and `valkeys://` mean
    /// the same.
    ///
    /// # Errors
    /// `Store` when the URL makes no sense, the server can't be reached, or the namespace holds something else.
    pub fn open(&self, url: &str) -> Result<RedisStore> {
        let pool = Pool::open(url, self).map_err(store_error)?;
        Ok(RedisStore::new(pool))
    }
}

impl Default for RedisOptions {
    fn default() -> Self {
        RedisOptions { namespace: None, timeout: Duration::from_secs(5), root_certificate: None }
    }
}

/// Tables on a Redis (5 or later) or Valkey server. Any number of sandboxes, on any number of hosts, may use the same namespace at a time.
///
/// A run's reads are remembered, and its writes are made in one round trip if nothing of what was read has changed; otherwise the run
/// is repeated. Values that were read are kept for the run; small tables come as a whole, and what the last run read is fetched with
/// the first thing that a run reads, so most runs take two round trips. What a server loses when it crashes is up to its own settings (`appendonly`,
/// replication). When the connection breaks during a commit, the run fails with `Store` and may have been stored, as a whole. Cloning
/// gives another user of the same pool of connections.
pub struct RedisStore {
    pool: Arc<Pool>,
    tables: HashMap<u32, Cached>,
    /// Whether this run has asked the server for something.
    fetched: bool,
    /// How often it did.
    fetches: u32,
    /// What the last run used.
    expected: Vec<Request>,
    /// Of the present run.
    cancel: CancelToken,
    /// The bytes that all entries known to this run take.
    held: usize,
}

/// What this run knows of a table.
#[derive(Default)]
struct Cached {
    entries: BTreeMap<String, Known>,
    size: Option<u64>,
    size_used: bool,
    /// The version, `None` inside when the table has none; known when all keys are.
    version: Option<Option<Vec<u8>>>,
    /// All keys are in `entries`, with values.
    whole: bool,
    all_used: bool,
    /// It is too large to come as a whole with the first entry.
    asked: bool,
}

/// One entry: the version and the value as they came, or that there is none.
struct Known {
    entry: Option<Vec<u8>>,
    used: bool,
}

/// Something to read.
#[derive(Clone, Debug, PartialEq)]
enum Request {
    Get(u32, String),
    Size(u32),
    Table(u32),
    All(u32),
}

impl Request {
    fn table(&self) -> u32 {
        let (Request::Get(id, _) | Request::Size(id) | Request::Table(id) | Request::All(id)) = self;
        *id
    }
}

impl RedisStore {
    /// Opens a store with the default options. See [`RedisOptions::open`].
    ///
    /// # Errors
    /// As [`RedisOptions::open`].
    pub fn open(url: &str) -> Result<RedisStore> {
        RedisOptions::default().open(url)
    }

    /// For other than the default options.
    #[must_use]
    pub fn options() -> RedisOptions {
        RedisOptions::default()
    }

    fn new(pool: Arc<Pool>) -> Self {
        RedisStore {
            pool,
            tables: HashMap::default(),
            fetched: false,
            fetches: 0,
            expected: Vec::new(),
            cancel: CancelToken::default(),
            held: 0,
        }
    }

    /// What is used in this run; the next one will probably want the same.
    fn used(&self) -> Vec<Request> {
        let mut used = Vec::new();
        for (id, table) in &self.tables {
            if table.all_used {
                used.push(Request::All(*id));
                continue;
            }
            if table.size_used {
                used.push(Request::Size(*id));
            }
            let keys = table.entries.iter().filter(|(_, known)| known.used);
            used.extend(keys.take(MAX_EXPECTED).map(|(key, _)| Request::Get(*id, key.clone())));
        }
        used.truncate(MAX_EXPECTED);
        used
    }

    /// Forgets this run.
    fn finish(&mut self) {
        if self.fetched {
            self.expected = self.used();
        }
        self.tables.clear();
        self.fetched = false;
        self.fetches = 0;
        self.held = 0;
    }

    /// Reads from the server, with what the last run used when this is the first time.
    fn fetch(&mut self, mut requests: Vec<Request>) -> StoreResult<()> {
        if !self.fetched {
            self.fetched = true;
            let expected = std::mem::take(&mut self.expected);
            requests.extend(expected.into_iter().filter(|request| !self.knows(request)));
        }
        self.fetches += 1;
        let mut arguments: Vec<Vec<u8>> = Vec::new();
        for request in &requests {
            let (letter, table) = match request {
                Request::Get(table, _) => ("g", table),
                Request::Size(table) => ("s", table),
                Request::Table(table) => ("t", table),
                Request::All(table) => ("a", table),
            };
            arguments.push(letter.into());
            arguments.push(table.to_string().into_bytes());
            match request {
                Request::Get(_, key) => arguments.push(key.as_bytes().to_vec()),
                Request::Table(_) => {
                    arguments.push(SMALL_ENTRIES.to_string().into_bytes());
                    arguments.push(SMALL_BYTES.to_string().into_bytes());
                }
                _ => {}
            }
        }
        let tables: BTreeSet<u32> = requests.iter().map(Request::table).collect();
        let Value::Array(answers) = self.pool.read(tables.into_iter(), &arguments, &self.cancel)? else {
            return Err(self.pool.strange());
        };
        for (request, answer) in requests.into_iter().zip(answers) {
            self.learn(request, answer).ok_or_else(|| self.pool.strange())?;
        }
        Ok(())
    }

    fn knows(&self, request: &Request) -> bool {
        let Some(table) = self.tables.get(&request.table()) else {
            return false;
        };
        match request {
            Request::Get(_, key) => table.whole || table.entries.contains_key(key),
            Request::Size(_) => table.size.is_some(),
            Request::Table(_) => table.asked,
            Request::All(_) => table.whole,
        }
    }

    /// Takes in an answer. What is known already stays: a run sees one value only, and the commit tells whether it was the right one.
    fn learn(&mut self, request: Request, answer: Value) -> Option<()> {
        let table = self.tables.entry(request.table()).or_default();
        match request {
            Request::Get(_, key) => {
                let entry = bytes(answer)?;
                self.held += size_of_entry(&key, entry.as_deref());
                table.entries.entry(key).or_insert(Known { entry, used: false });
            }
            Request::Size(_) => {
                let Value::Int(n) = answer else { return None };
                table.learn_size(u64::try_from(n).ok()?);
            }
            Request::Table(_) => {
                table.asked = true;
                let Value::Array(parts) = answer else { return None };
                let mut parts = parts.into_iter();
                let Some(Value::Int(n)) = parts.next() else { return None };
                table.learn_size(u64::try_from(n).ok()?);
                if let (Some(version), Some(all)) = (parts.next(), parts.next()) {
                    self.held += table.learn_all(version, all)?;
                }
            }
            Request::All(_) => {
                let Value::Array(parts) = answer else { return None };
                let mut parts = parts.into_iter();
                let (version, all) = (parts.next()?, parts.next()?);
                self.held += table.learn_all(version, all)?;
            }
        }
        Some(())
    }

    /// The entry, once it is here.
    fn entry(&mut self, id: u32, key: &str) -> StoreResult<Option<&Vec<u8>>> {
        let table = self.tables.entry(id).or_default();
        if !table.whole && !table.entries.contains_key(key) {
            let mut requests = vec![Request::Get(id, key.to_owned())];
            if !table.asked {
                requests.push(Request::Table(id));
            }
            self.fetch(requests)?;
        }
        let table = self.tables.entry(id).or_default();
        if !table.entries.contains_key(key) {
            self.held += size_of_entry(key, None);
            table.entries.insert(key.to_owned(), Known { entry: None, used: true });
        }
        let Some(known) = table.entries.get_mut(key) else {
            return Ok(None);
        };
        known.used = true;
        Ok(known.entry.as_ref())
    }

    /// All of a table, once it is here.
    fn whole(&mut self, id: u32) -> StoreResult<&mut Cached> {
        if !self.tables.get(&id).is_some_and(|table| table.whole) {
            self.fetch(vec![Request::All(id)])?;
        }
        let table = self.tables.entry(id).or_default();
        table.all_used = true;
        Ok(table)
    }

    /// What the commit has to check, and the tables that it is about.
    fn checks(&self, arguments: &mut Vec<Vec<u8>>, tables: &mut BTreeSet<u32>) {
        for (id, table) in &self.tables {
            let number = || id.to_string().into_bytes();
            tables.insert(*id);
            if table.all_used {
                let version = table.version.clone().flatten().unwrap_or_default();
                arguments.extend([b"t".to_vec(), number(), version]);
            }
            if table.size_used
                && let Some(size) = table.size
            {
                arguments.extend([b"s".to_vec(), number(), size.to_string().into_bytes()]);
            }
            for (key, known) in table.entries.iter().filter(|(_, known)| known.used) {
                let version = known.entry.as_ref().and_then(|entry| entry.get(..VERSION)).unwrap_or_default();
                arguments.extend([b"v".to_vec(), number(), key.as_bytes().to_vec(), version.to_vec()]);
            }
        }
    }

    fn write<'a>(&mut self, writes: impl Iterator<Item = Write<'a>>, checks: bool) -> StoreResult<()> {
        let (mut arguments, mut tables) = (Vec::new(), BTreeSet::new());
        if checks {
            self.checks(&mut arguments, &mut tables);
        }
        for write in writes {
            let (Write::Set { table, .. } | Write::Delete { table, .. } | Write::RemoveTable { table }) = write;
            tables.insert(table);
            match write {
                Write::Set { table, key, value } => arguments.extend([
                    b"S".to_vec(),
                    table.to_string().into_bytes(),
                    key.as_bytes().to_vec(),
                    value.to_vec(),
                ]),
                Write::Delete { table, key } => {
                    arguments.extend([b"D".to_vec(), table.to_string().into_bytes(), key.as_bytes().to_vec()]);
                }
                Write::RemoveTable { table } => arguments.extend([b"R".to_vec(), table.to_string().into_bytes()]),
            }
        }
        if arguments.is_empty() {
            return Ok(());
        }
        match self.pool.commit(tables.into_iter(), &arguments, &self.cancel)? {
            Value::Nil | Value::Boolean(false) => {
                Err(StoreError::conflict("another sandbox changed what this one had read"))
            }
            _ => Ok(()),
        }
    }
}

impl Cached {
    /// What it takes in memory.
    fn learn_all(&mut self, version: Value, all: Value) -> Option<usize> {
        let pairs: Vec<Value> = match all {
            Value::Array(pairs) => pairs,
            Value::Map(pairs) => pairs.into_iter().flat_map(|(key, value)| [key, value]).collect(),
            _ => return None,
        };
        self.version = Some(bytes(version)?);
        self.whole = true;
        // What was used stays, and is checked by itself; the rest has to go together.
        self.entries.retain(|_, known| known.used);
        let (mut n, mut held) = (0, 0);
        let mut pairs = pairs.into_iter();
        while let (Some(key), Some(entry)) = (pairs.next(), pairs.next()) {
            let key = String::from_utf8(bytes(key)??).ok()?;
            let entry = bytes(entry)?;
            held += size_of_entry(&key, entry.as_deref());
            self.entries.entry(key).or_insert(Known { entry, used: false });
            n += 1;
        }
        self.learn_size(n);
        Some(held)
    }

    fn learn_size(&mut self, n: u64) {
        if !self.size_used {
            self.size = Some(n);
        }
    }
}

/// What an entry takes in memory, about.
fn size_of_entry(key: &str, entry: Option<&[u8]>) -> usize {
    2 * size_of::<(String, Known)>() + key.len() + entry.map_or(0, <[u8]>::len)
}

/// The bytes of an answer, `None` inside for nothing.
#[allow(clippy::option_option, reason = "no bytes are an answer too")]
fn bytes(value: Value) -> Option<Option<Vec<u8>>> {
    match value {
        Value::BulkString(bytes) => Some(Some(bytes)),
        Value::Nil | Value::Boolean(false) => Some(None),
        _ => None,
    }
}

impl Clone for RedisStore {
    fn clone(&self) -> Self {
        RedisStore::new(Arc::clone(&self.pool))
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("server", &self.pool.name()).field("namespace", &self.pool.prefix()).finish()
    }
}

impl TableStore for RedisStore {
    fn held(&self) -> usize {
        self.held
    }

    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        let entry = self.entry(table, key)?;
        if let Some(entry) = entry {
            read(entry.get(VERSION..).unwrap_or_default());
        }
        Ok(entry.is_some())
    }

    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.finish();
        self.write(std::iter::once(Write::Set { table, key, value }), false)
    }

    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.finish();
        self.write(std::iter::once(Write::Delete { table, key }), false)
    }

    fn size(&mut self, table: u32) -> StoreResult<u64> {
        if self.tables.get(&table).is_none_or(|table| table.size.is_none()) {
            let mut requests = vec![Request::Size(table)];
            if self.tables.get(&table).is_none_or(|table| !table.asked) {
                requests.push(Request::Table(table));
            }
            self.fetch(requests)?;
        }
        let table = self.tables.entry(table).or_default();
        table.size_used = true;
        Ok(table.size.unwrap_or(0))
    }

    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        let table = self.whole(table)?;
        table.entries.iter().filter(|(_, known)| known.entry.is_some()).for_each(|(key, _)| visit(key));
        Ok(())
    }

    fn scan(&mut self, table: u32, visit: &mut dyn FnMut(&str, &[u8])) -> StoreResult<()> {
        let table = self.whole(table)?;
        for (key, known) in &table.entries {
            if let Some(entry) = &known.entry {
                visit(key, entry.get(VERSION..).unwrap_or_default());
            }
        }
        Ok(())
    }

    fn keys_after(
        &mut self,
        table: u32,
        after: Option<&str>,
        limit: usize,
        visit: &mut dyn FnMut(&str),
    ) -> StoreResult<()> {
        use std::ops::Bound::{Excluded, Unbounded};
        let table = self.whole(table)?;
        let start = after.map_or(Unbounded, Excluded);
        let keys = table.entries.range::<str, _>((start, Unbounded)).filter(|(_, known)| known.entry.is_some());
        keys.take(limit).for_each(|(key, _)| visit(key));
        Ok(())
    }

    fn remove_table(&mut self, table: u32) -> StoreResult<()> {
        self.finish();
        self.write(std::iter::once(Write::RemoveTable { table }), false)
    }

    fn tables(&mut self, visit: &mut dyn FnMut(u32)) -> StoreResult<bool> {
        self.pool.tables(&self.cancel)?.into_iter().for_each(visit);
        Ok(true)
    }

    fn prefetch(&mut self, keys: &[(u32, &str)]) -> StoreResult<()> {
        let requests = keys.iter().map(|(table, key)| Request::Get(*table, (*key).to_owned()));
        let requests: Vec<Request> = requests.filter(|request| !self.knows(request)).collect();
        if requests.is_empty() { Ok(()) } else { self.fetch(requests) }
    }

    fn set_cancel(&mut self, token: &CancelToken) {
        self.cancel = token.clone();
    }

    fn begin(&mut self) -> StoreResult<()> {
        self.finish();
        Ok(())
    }

    fn commit(&mut self, batch: &mut Batch<'_>) -> StoreResult<()> {
        // What was read in one go belongs together anyway.
        let result = if batch.is_empty() && self.fetches <= 1 { Ok(()) } else { self.write(batch.writes(), true) };
        self.finish();
        result
    }

    fn rollback(&mut self) {
        self.finish();
    }

    fn reserve_ids(&mut self, count: u32) -> StoreResult<Option<u32>> {
        self.pool.reserve(count, FIRST_FREE, &self.cancel).map(Some)
    }

    fn is_shared(&self) -> bool {
        true
    }
}
