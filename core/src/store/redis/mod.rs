//! Tables on a Redis or Valkey server, shared by many hosts.

mod address;
mod cache;
mod commit;
mod gc;
mod pool;
mod scripts;
mod session;
mod wire;
mod write_part;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ::redis::Value;

use self::cache::{Cache, Cached, Portion, Request, VERSION};
use self::pool::Pool;
use self::session::Session;
use super::{Batch, CancelToken, StoreError, StoreResult, TableStore, Turns, Write};
use crate::value::Result;

/// At most so many of the things that the last run read are fetched at the first look of the next one.
const MAX_EXPECTED: usize = 1000;

/// A large table is read in portions of about so many bytes.
const PORTION_BYTES: usize = 512 << 10;
const FIRST_PORTION: usize = 64;
const MOST_PORTION: usize = 8192;

/// So many tables are listed at a time.
const LISTED: u64 = 4096;

/// What is known of a table that is empty now has so many bytes.
const EMPTY: usize = 17;

/// How often the server is asked whose turn it is.
const TURN_ASKED: Duration = Duration::from_millis(5);

/// How often that is begun anew when the table changes meanwhile.
const WALKS: u32 = 5;

/// How a [`RedisStore`] is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RedisOptions {
    namespace: Option<String>,
    timeout: Duration,
    root_certificate: Option<Vec<u8>>,
    read_only: bool,
}

impl RedisOptions {
    /// What separates this `_home` from others on the server. All keys begin with the namespace in braces, so that on a
    /// cluster they are in one slot. Default: the URL's `namespace=`, or `luacell`.
    #[must_use]
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = Some(name.into());
        self
    }

    /// How long a request may take, including connecting. A run's own timeout, and an interrupt, end its reading
    /// sooner. Default 5 seconds, at most a day.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.clamp(Duration::from_millis(1), Duration::from_secs(24 * 60 * 60));
        self
    }

    /// The certificate, in PEM form, that must have signed the server's certificate, for `rediss://`. Default: those
    /// that the system trusts.
    #[must_use]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificate = Some(pem.into());
        self
    }

    /// Whether nothing is ever written to the server: for a user who may not write, or a replica. A run that would
    /// change `_home` fails with `Store`. Others don't see such a reader: a table that only its variables refer to may
    /// be removed. Default: the URL's `read_only=true`, or false.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Opens the store: `redis://[user:password@]host[:port][/number][?namespace=name]`, `rediss://` for TLS;
    /// `valkey://` and `valkeys://` mean the same.
    ///
    /// # Errors
    /// `Store` if the URL is not valid, the server can't be reached, its user lacks a permission, or the namespace
    /// holds something else.
    pub fn open(&self, url: &str) -> Result<RedisStore> {
        let pool = Pool::open(url, self)?;
        let mut store = RedisStore::new(pool);
        store.session.attach(&CancelToken::default())?;
        Ok(store)
    }
}

impl Default for RedisOptions {
    fn default() -> Self {
        RedisOptions { namespace: None, timeout: Duration::from_secs(5), root_certificate: None, read_only: false }
    }
}

/// Tables on a Redis (5 or later) or Valkey server. Any number of sandboxes, on any number of hosts, may use the same
/// namespace at a time.
///
/// A run's reads are remembered, and its writes are made in one round trip if nothing that was read has changed;
/// otherwise the run is repeated. Values that were read are kept for the run. Small tables arrive as a whole, and what
/// the last run read is fetched with the first thing that a run reads, so most runs take two round trips. What a server
/// loses when it crashes depends on its own settings (`appendonly`, replication). If the connection breaks during a
/// commit, the run fails with `Store` and may have been stored, as a whole. Cloning gives another user of the same pool
/// of connections.
pub struct RedisStore {
    session: Session,
    cache: Cache,
    /// Where this run's reading began: the position then.
    began: Option<u64>,
    /// How often it asked the server.
    fetches: u32,
    /// What the last run used.
    expected: Vec<Request>,
    /// Of the present run.
    cancel: CancelToken,
    /// The name under which the server has the present turn as this one's.
    turn: Option<String>,
    /// When the server was asked for it last.
    turn_asked: Option<Instant>,
}

impl RedisStore {
    /// Opens a store with the default options. See [`RedisOptions::open`].
    ///
    /// # Errors
    /// As [`RedisOptions::open`].
    pub fn open(url: &str) -> Result<RedisStore> {
        RedisOptions::default().open(url)
    }

    /// For options other than the defaults.
    #[must_use]
    pub fn options() -> RedisOptions {
        RedisOptions::default()
    }

    fn new(pool: Arc<Pool>) -> Self {
        RedisStore {
            session: Session::new(pool),
            cache: Cache::default(),
            began: None,
            fetches: 0,
            expected: Vec::new(),
            cancel: CancelToken::default(),
            turn: None,
            turn_asked: None,
        }
    }

    /// What is used in this run; the next one will probably want the same.
    fn used(&self) -> Vec<Request> {
        let mut used = Vec::new();
        for (id, table) in &self.cache.tables {
            if table.all_used {
                used.push(Request::Whole(*id));
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
        if self.began.take().is_some() {
            self.expected = self.used();
        }
        self.cache.clear();
        self.fetches = 0;
    }

    /// Reads from the server: an answer for each request.
    fn ask(&mut self, requests: &[Request]) -> StoreResult<std::vec::IntoIter<Value>> {
        self.fetches += 1;
        let mut tables: Vec<u32> = requests.iter().map(Request::table).collect();
        tables.sort_unstable();
        tables.dedup();
        let mut arguments = Vec::new();
        for request in requests {
            let place = tables.binary_search(&request.table()).unwrap_or_default();
            request.arguments(place + 3, &mut arguments);
        }
        let keys = self.session.pool().keys(&["meta", "log"], tables);
        let answers = self.session.done(&scripts::READ, &keys, &arguments, true, &self.cancel)?;
        self.began.get_or_insert(self.session.position());
        Ok(answers)
    }

    /// Reads from the server, with what the last run used when this is the first time.
    fn fetch(&mut self, mut requests: Vec<Request>) -> StoreResult<()> {
        if self.began.is_none() {
            let expected = std::mem::take(&mut self.expected);
            requests.extend(expected.into_iter().filter(|request| !self.cache.knows(request)));
        }
        let answers = self.ask(&requests)?;
        if answers.len() != requests.len() {
            return Err(self.session.pool().strange());
        }
        for (request, answer) in requests.into_iter().zip(answers) {
            self.cache.learn(request, answer).ok_or_else(|| self.session.pool().strange())?;
        }
        Ok(())
    }

    /// The entry, once it is here.
    fn entry(&mut self, id: u32, key: &str) -> StoreResult<Option<&Vec<u8>>> {
        let table = self.cache.table(id);
        if !table.whole && !table.entries.contains_key(key) {
            let requests = self.cache.wanted(id, key);
            self.fetch(requests)?;
        }
        Ok(self.cache.entry(id, key))
    }

    /// All of a table, once it is here.
    fn whole(&mut self, id: u32) -> StoreResult<&Cached> {
        if !self.cache.table(id).whole {
            let mut requests = vec![Request::Whole(id)];
            requests.extend(self.cache.siblings(id));
            self.fetch(requests)?;
        }
        let mut walks = 0;
        while !self.cache.table(id).whole {
            if walks == WALKS {
                return Err(StoreError::conflict(
                    "a large table was changed by others again and again while it was read",
                ));
            }
            walks += 1;
            self.walk(id)?;
        }
        Ok(self.cache.all(id))
    }

    /// Reads a large table, if it does not change meanwhile.
    fn walk(&mut self, id: u32) -> StoreResult<()> {
        let (mut all, mut before, mut count, mut held) = (BTreeMap::new(), None, FIRST_PORTION, 0);
        let mut cursor = 0;
        loop {
            let answer = self.ask(&[Request::Part(id, cursor, count)])?.next();
            let portion = answer.and_then(Portion::read).ok_or_else(|| self.session.pool().strange())?;
            if *before.get_or_insert_with(|| portion.version.clone()) != portion.version {
                return Ok(());
            }
            let mut bytes = 0;
            for (key, entry) in portion.entries {
                bytes += cache::size_of_entry(&key, Some(&entry));
                all.insert(key, entry);
            }
            held += bytes;
            if self.cache.held.saturating_add(held) > self.cancel.room() {
                // The run ends for that.
                self.cache.held += held;
                return Err("the run reads more than the host may hold for it".into());
            }
            if portion.cursor == 0 {
                break;
            }
            cursor = portion.cursor;
            count = if bytes < PORTION_BYTES / 2 {
                2 * count
            } else if bytes > PORTION_BYTES {
                count / 2
            } else {
                count
            };
            count = count.clamp(FIRST_PORTION / 8, MOST_PORTION);
        }
        self.cache.held += self.cache.table(id).learn_all(before.unwrap_or_default(), all);
        Ok(())
    }
}

impl Clone for RedisStore {
    fn clone(&self) -> Self {
        RedisStore::new(Arc::clone(self.session.pool()))
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pool = self.session.pool();
        f.debug_struct("RedisStore").field("server", &pool.name()).field("namespace", &pool.prefix()).finish()
    }
}

impl TableStore for RedisStore {
    fn held(&self) -> usize {
        self.cache.held
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
        if self.cache.table(table).size.is_none() {
            let mut requests = vec![Request::Size(table)];
            if !self.cache.table(table).asked {
                requests.push(Request::Small(table));
                requests.extend(self.cache.siblings(table));
            }
            self.fetch(requests)?;
        }
        let table = self.cache.table(table);
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

    fn scan_after(
        &mut self,
        table: u32,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, &[u8]) -> bool,
    ) -> StoreResult<()> {
        use std::ops::Bound::{Excluded, Unbounded};
        let table = self.whole(table)?;
        for (key, known) in table.entries.range::<str, _>((after.map_or(Unbounded, Excluded), Unbounded)) {
            if let Some(entry) = &known.entry
                && !visit(key, entry.get(VERSION..).unwrap_or_default())
            {
                break;
            }
        }
        Ok(())
    }

    fn remove_table(&mut self, table: u32) -> StoreResult<()> {
        self.finish();
        self.write(std::iter::once(Write::RemoveTable { table }), false)
    }

    fn tables(&mut self, visit: &mut dyn FnMut(u32)) -> StoreResult<bool> {
        self.filled()?.into_iter().for_each(visit);
        Ok(true)
    }

    fn share_held(&mut self, held: &[u32], collect: bool) -> StoreResult<()> {
        if self.session.pool().read_only() {
            return Ok(());
        }
        self.finish();
        if collect {
            self.collect(held)
        } else if self.session.is_asked() {
            self.tell(held)
        } else {
            Ok(())
        }
    }

    fn asks_for_held(&self) -> bool {
        self.session.is_asked()
    }

    fn prefetch(&mut self, keys: &[(u32, &str)]) -> StoreResult<()> {
        let requests = keys.iter().map(|(table, key)| Request::Get(*table, (*key).to_owned()));
        let requests: Vec<Request> = requests.filter(|request| !self.cache.knows(request)).collect();
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
        let before = self.session.position();
        let first = self.session.reserve(count, &self.cancel)?;
        if self.began == Some(before) && self.session.position() == before + 1 {
            // That was this run itself.
            self.began = Some(before + 1);
        }
        Ok(Some(first))
    }

    fn turns(&self) -> Option<Arc<Turns>> {
        Some(self.session.pool().turns())
    }

    fn take_turn(&mut self, term: Duration) -> StoreResult<bool> {
        if self.turn_asked.is_some_and(|asked| asked.elapsed() < TURN_ASKED) {
            return Ok(false);
        }
        self.turn_asked = Some(Instant::now());
        let name = session::random_name()?;
        let has_come = self.session.pool().take_turn(&name, term, &self.cancel)?;
        self.turn = has_come.then_some(name);
        Ok(has_come)
    }

    fn end_turn(&mut self) {
        self.turn_asked = None;
        if let Some(name) = self.turn.take() {
            // A server that can't be told gives it to somebody else when its term is over.
            let _ = self.session.pool().end_turn(&name);
        }
    }

    fn now(&mut self) -> StoreResult<SystemTime> {
        self.session.pool().now(&self.cancel)
    }

    fn is_shared(&self) -> bool {
        true
    }
}
