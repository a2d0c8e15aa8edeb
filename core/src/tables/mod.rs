//! A sandbox's tables: a store, and in front of it the writes of the current run.

mod clock;
mod compact;
mod id_lease;
mod pending_runs;

pub(crate) mod meter;
pub(crate) mod overlay;
mod quota;
mod snapshot;
mod sweep;
pub(crate) mod tiered;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use self::clock::Clock;
pub(crate) use self::id_lease::{IdSet, id_set};
pub use self::meter::StoreLimit;
pub use self::pending_runs::PendingRun;
pub(crate) use self::pending_runs::{Claimant, Claimed};
pub(crate) use self::snapshot::TableSnapshot;
use self::sweep::{SWEPT_KEY, decode_swept};
use crate::store::reserved::{
    FIRST_FREE, HOME, IO, NEXT_KEY, OWN, RUNS, UNDO_KEY, WRITER_KEY, decode_next, encode_next, is_valid, noted_next,
};
use crate::store::{self, Batch, CancelToken, MemoryStore, StoreError, StoreResult, TableStore, Turns};
use crate::tables::meter::Meter;
use crate::tables::overlay::Overlay;
use crate::tables::tiered::Tiered;
use crate::util::{StopSignal, process};
use crate::value::codec::{self, tag};

/// Where the tables are.
enum Backing {
    /// In memory only.
    Memory(MemoryStore),
    /// In a store, with what is not worth keeping in memory.
    Tiered(Box<Tiered>),
}

impl Backing {
    #[inline]
    fn store(&mut self) -> &mut dyn TableStore {
        match self {
            Backing::Memory(store) => store,
            Backing::Tiered(store) => &mut **store,
        }
    }

    /// Gives all writes to the store and forgets them. When it fails they are kept, for the guest to look at while it
    /// takes the run back; then they have to be cleared.
    fn commit(&mut self, overlay: &mut Overlay) -> StoreResult<()> {
        match self {
            Backing::Memory(store) => store.commit(&mut Batch(overlay))?,
            Backing::Tiered(store) => store.commit_overlay(overlay)?,
        }
        overlay.clear();
        Ok(())
    }
}

/// The tables of one sandbox.
pub(crate) struct Tables {
    backing: Backing,
    overlay: Overlay,
    /// What somebody else's store has of tables that the present run made.
    nothing: MemoryStore,
    /// No table with this id or a higher one was ever seen.
    next_id: u32,
    /// No table had this id or a higher one before the present run.
    floor: u32,
    /// Lua may hold tables with numbers below this one, also such as nobody else has heard of: nothing was ever written
    /// to them.
    in_lua: u32,
    /// As the store knows it.
    saved_next_id: u32,
    /// Where the reserved numbers end, for a store that gives them out.
    lease_end: Option<u32>,
    lease_step: u32,
    /// How many the last run took that took any.
    usual: u32,
    /// Who had written to the store last when it was opened, or this one since, and what this one goes by: for a store
    /// that gives no numbers.
    writer: Option<Vec<u8>>,
    own_mark: [u8; 8],
    /// A process that came from a fork is somebody else.
    process: u32,
    /// Tables that were there after the last sweep; only those in memory.
    live: usize,
    /// Tables made since then.
    created: usize,
    /// The last sweep of the store: the next id then, and how much there was to look at.
    swept: (u32, u64),
    /// Whether the store has been told that a run began.
    begun: bool,
    /// Whether a commit failed, so that it may have to be taken back.
    interrupted: bool,
    /// What the store holds; known once the present run has written something.
    meter: Option<Meter>,
    /// Of the present run.
    deadline: Option<Instant>,
    /// Whether functions in the store are not to be loaded.
    no_functions: bool,
}

impl Tables {
    /// Tables in memory.
    pub(crate) fn in_memory() -> Self {
        Tables::with(Backing::Memory(MemoryStore::new()), FIRST_FREE, FIRST_FREE, None)
    }

    /// Tables in a store that may hold something already.
    pub(crate) fn open(mut store: Box<dyn TableStore>) -> StoreResult<Self> {
        store.begin()?;
        store.prefetch(&[(OWN, UNDO_KEY), (OWN, NEXT_KEY), (OWN, SWEPT_KEY)])?;
        store::recover(&mut *store)?;
        let mut saved = None;
        store.get(OWN, NEXT_KEY, &mut |value| saved = decode_next(value))?;
        let mut swept = (FIRST_FREE, 0);
        store.get(OWN, SWEPT_KEY, &mut |value| {
            if let Some((next, weight)) = decode_swept(value) {
                swept = (next, weight);
            }
        })?;
        let lease = store.reserve_ids(0)?;
        let mut writer = None;
        if lease.is_none() {
            store.get(OWN, WRITER_KEY, &mut |value| writer = Some(value.to_vec()))?;
        }
        store.rollback();
        let mut tables = Tables::with(Backing::Tiered(Box::new(Tiered::new(store))), FIRST_FREE, FIRST_FREE, lease);
        tables.swept = swept;
        tables.writer = writer;
        match (lease, saved) {
            (Some(next), _) => tables.start_at(next.max(FIRST_FREE), next.max(FIRST_FREE)),
            (None, Some(next)) => tables.start_at(next.max(FIRST_FREE), next),
            (None, None) => {
                // Somebody else filled this store: look which tables it has.
                let mut highest = IO;
                tables.store()?.tables(&mut |id| {
                    if is_valid(id) {
                        highest = highest.max(id);
                    }
                })?;
                let seen = tables.reachable([HOME, IO, RUNS])?.0;
                let highest = seen.into_iter().filter(|id| is_valid(*id)).fold(highest, u32::max);
                tables.end();
                tables.start_at(highest.saturating_add(1), FIRST_FREE);
            }
        }
        // A store that can't be read as a whole is none the worse for it.
        let _ = tables.compact();
        if lease.is_none()
            && let Backing::Tiered(tiered) = &mut tables.backing
        {
            tiered.add_own(tables.next_id, RUNS);
        }
        Ok(tables)
    }

    fn with(backing: Backing, next_id: u32, saved_next_id: u32, lease_end: Option<u32>) -> Self {
        let mut tables = Tables {
            backing,
            overlay: Overlay::new(),
            nothing: MemoryStore::new(),
            next_id,
            floor: next_id,
            in_lua: 0,
            saved_next_id,
            lease_end,
            lease_step: 0,
            usual: 0,
            writer: None,
            own_mark: [0; 8],
            process: 0,
            live: 0,
            created: 0,
            swept: (FIRST_FREE, 0),
            begun: false,
            interrupted: false,
            meter: None,
            deadline: None,
            no_functions: false,
        };
        tables.overlay.begin(next_id);
        tables
    }

    /// The store, which knows that a run has begun.
    #[inline]
    fn store(&mut self) -> StoreResult<&mut dyn TableStore> {
        if !self.begun {
            self.begin()?;
        }
        Ok(self.backing.store())
    }

    /// What the store has of a table, and what the present run wrote. Of a table that it made a store has nothing: what
    /// somebody else has stored there under the same number meanwhile is another one.
    #[inline]
    fn parts(&mut self, table: u32) -> StoreResult<(&mut dyn TableStore, &mut Overlay)> {
        if self.lease_end.is_some() && self.overlay.is_fresh(table) {
            return Ok((&mut self.nothing, &mut self.overlay));
        }
        if !self.begun {
            self.begin()?;
        }
        Ok((self.backing.store(), &mut self.overlay))
    }

    #[inline]
    fn begin(&mut self) -> StoreResult<()> {
        if let Backing::Tiered(store) = &mut self.backing {
            store.begin()?;
            if self.interrupted {
                store::recover(&mut **store)?;
                store.settle()?;
                self.interrupted = false;
                // What this looked at is none of the run's business.
                store.begin()?;
            }
            self.begun = true;
            if self.lease_end.is_none()
                && let Err(error) = self.check_writer()
            {
                self.end();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends what was begun by reading.
    #[inline]
    pub(crate) fn end(&mut self) {
        if self.begun {
            self.begun = false;
            self.backing.store().rollback();
        }
    }

    pub(crate) fn turns(&self) -> Option<Arc<Turns>> {
        match &self.backing {
            Backing::Memory(_) => None,
            Backing::Tiered(tiered) => tiered.turns(),
        }
    }

    pub(crate) fn take_turn(&mut self, term: Duration) -> StoreResult<bool> {
        self.backing.store().take_turn(term)
    }

    pub(crate) fn end_turn(&mut self) {
        self.backing.store().end_turn();
    }

    pub(crate) fn refuse_functions(&mut self, refuse: bool) {
        self.no_functions = refuse;
    }

    pub(crate) fn refuses_functions(&self) -> bool {
        self.no_functions
    }

    /// Whether a value that was read is a function that came from the store.
    fn is_refused(&self, table: u32, key: &str, value: &[u8]) -> bool {
        codec::has_function(value)
            && !self.overlay.writes_to(table, key.as_bytes())
            && matches!(&self.backing, Backing::Tiered(tiered) if !tiered.is_local(table))
    }

    #[inline]
    pub(crate) fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        if !self.no_functions {
            return self.get_any(table, key, read);
        }
        let mut value = None;
        let found = self.get_any(table, key, &mut |bytes| value = Some(bytes.to_vec()))?;
        if let Some(value) = value {
            if self.is_refused(table, key, &value) {
                return Err(function_refused(table, key));
            }
            read(&value);
        }
        Ok(found)
    }

    #[inline]
    fn get_any(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        if self.lease_end.is_some() {
            return self.get_shared(table, key, read);
        }
        if self.overlay.is_empty() {
            return self.store()?.get(table, key, read);
        }
        if !self.begun {
            self.begin()?;
        }
        self.overlay.get(self.backing.store(), table, key, read)
    }

    fn get_shared(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        let mut ids = Vec::new();
        let (store, overlay) = self.parts(table)?;
        let found = overlay.get(store, table, key, &mut |value| {
            add_references(value, &mut ids);
            read(value);
        })?;
        if !ids.is_empty() && !self.overlay.writes_to(table, key.as_bytes()) {
            self.note_read(table, &ids);
        }
        Ok(found)
    }

    #[inline]
    pub(crate) fn set(&mut self, table: u32, key: &str, value: &[u8]) {
        self.note_id(table);
        match value {
            [tag::EXTERNAL | tag::STORED_FUNCTION | tag::STORED_UPVALUE, id @ ..] => {
                if let Ok(id) = id.try_into() {
                    self.note_id(u32::from_le_bytes(id));
                }
            }
            [first, ..] if codec::is_table(*first) => codec::references(value, &mut |id| self.note_id(id)),
            _ => {}
        }
        self.overlay.put(table, key, Some(value));
    }

    pub(crate) fn delete(&mut self, table: u32, key: &str) {
        if self.meter.is_some_and(|meter| meter.is_exact())
            && let Ok(old) = self.entry_size(table, key)
            && let Some(meter) = &mut self.meter
        {
            meter.change(old, None, &StoreLimit::UNLIMITED);
        }
        // A script can name keys without end; what isn't there needs no deleting. A store elsewhere isn't asked for
        // that alone.
        let in_memory = match &self.backing {
            Backing::Memory(store) => Some(store),
            Backing::Tiered(tiered) => tiered.local_of(table),
        };
        if in_memory.is_some_and(|store| store.value(table, key).is_none())
            && !self.overlay.writes_to(table, key.as_bytes())
        {
            return;
        }
        self.overlay.put(table, key, None);
    }

    /// The bytes of memory that the present run takes here: its writes, and what a store remembers for it.
    #[inline]
    pub(crate) fn held(&mut self) -> usize {
        match &self.backing {
            Backing::Memory(_) => self.overlay.held(),
            Backing::Tiered(tiered) => self.overlay.held().saturating_add(tiered.held()),
        }
    }

    /// About how many bytes the tables take that are kept in memory.
    #[inline]
    pub(crate) fn weight(&self) -> u64 {
        /// Of an entry, beside its key and value.
        const ENTRY: u64 = 64;
        let usage = match &self.backing {
            Backing::Memory(store) => store.held(),
            Backing::Tiered(tiered) => tiered.local_usage(),
        };
        usage.bytes.saturating_add(usage.entries.saturating_mul(ENTRY))
    }

    pub(crate) fn contains(&mut self, table: u32, key: &str) -> StoreResult<bool> {
        self.get(table, key, &mut |_| {})
    }

    pub(crate) fn exists(&mut self, table: u32) -> StoreResult<bool> {
        if table == HOME || table == IO {
            return Ok(true);
        }
        let (store, overlay) = self.parts(table)?;
        overlay.exists(store, table)
    }

    pub(crate) fn size(&mut self, table: u32) -> StoreResult<u64> {
        let (store, overlay) = self.parts(table)?;
        overlay.size(store, table)
    }

    pub(crate) fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        let (store, overlay) = self.parts(table)?;
        overlay.keys(store, table, visit)
    }

    /// Hands all entries to `visit`.
    pub(crate) fn scan(&mut self, table: u32, visit: &mut dyn FnMut(&str, &[u8])) -> StoreResult<()> {
        if !self.no_functions {
            return self.scan_any(table, visit);
        }
        let mut functions = Vec::new();
        self.scan_any(table, &mut |key, value| match codec::has_function(value) {
            true => functions.push((key.to_owned(), value.to_vec())),
            false => visit(key, value),
        })?;
        for (key, value) in functions {
            if self.is_refused(table, &key, &value) {
                return Err(function_refused(table, &key));
            }
            visit(&key, &value);
        }
        Ok(())
    }

    /// As `scan`, for who only looks where the values lead.
    fn scan_any(&mut self, table: u32, visit: &mut dyn FnMut(&str, &[u8])) -> StoreResult<()> {
        let is_shared = self.lease_end.is_some();
        let (store, overlay) = self.parts(table)?;
        if !is_shared {
            return overlay.scan(store, table, visit);
        }
        let mut ids = Vec::new();
        overlay.scan(store, table, &mut |key, value| {
            add_references(value, &mut ids);
            visit(key, value);
        })?;
        // What this run wrote itself is not somebody else's; its own numbers are below the counter.
        if !self.overlay.touches(table) {
            self.note_read(table, &ids);
        }
        Ok(())
    }

    /// As [`Overlay::scan_after`].
    pub(crate) fn scan_after(
        &mut self,
        table: u32,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, Option<&[u8]>) -> bool,
    ) -> StoreResult<bool> {
        if !self.no_functions {
            return self.scan_any_after(table, after, visit);
        }
        let mut after = after.map(str::to_owned);
        loop {
            let mut function = None;
            let known = self.scan_any_after(table, after.as_deref(), &mut |key, value| match value {
                Some(value) if codec::has_function(value) => {
                    function = Some((key.to_owned(), value.to_vec()));
                    false
                }
                value => visit(key, value),
            })?;
            let Some((key, value)) = function else { return Ok(known) };
            if self.is_refused(table, &key, &value) {
                return Err(function_refused(table, &key));
            }
            if !visit(&key, Some(&value)) {
                return Ok(true);
            }
            after = Some(key);
        }
    }

    fn scan_any_after(
        &mut self,
        table: u32,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, Option<&[u8]>) -> bool,
    ) -> StoreResult<bool> {
        let is_shared = self.lease_end.is_some();
        let (store, overlay) = self.parts(table)?;
        if !is_shared {
            return overlay.scan_after(store, table, after, visit);
        }
        let mut ids = Vec::new();
        let known = overlay.scan_after(store, table, after, &mut |key, value| {
            add_references(value.unwrap_or_default(), &mut ids);
            visit(key, value)
        })?;
        if !self.overlay.touches(table) {
            self.note_read(table, &ids);
        }
        Ok(known)
    }

    /// Whether the present run has written anything, or read something that a store has to check.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.begun || self.lease_end.is_some() || !self.overlay.is_empty()
    }

    /// Until when the present run may take, who can end it sooner, and how much a store may hold for it.
    #[inline]
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>, signal: Option<&Arc<StopSignal>>, room: u64) {
        self.deadline = deadline;
        if let Backing::Tiered(store) = &mut self.backing {
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            store.set_cancel(&CancelToken::new(deadline, signal.cloned()).with_room(room));
        }
    }

    /// What is stored from here on is stored however long it takes.
    pub(crate) fn be_patient(&mut self) {
        if let Backing::Tiered(store) = &mut self.backing {
            store.set_cancel(&CancelToken::default());
        }
    }

    /// Whether somebody may have waited for the store since this was asked last.
    #[inline]
    pub(crate) fn has_waited(&mut self) -> bool {
        match &mut self.backing {
            Backing::Memory(_) => false,
            Backing::Tiered(store) => store.take_asked(),
        }
    }

    /// Whether somebody may have to wait for the store.
    #[inline]
    pub(crate) fn waits(&self) -> bool {
        matches!(self.backing, Backing::Tiered(_))
    }

    /// About how long it takes to store what the present run wrote where nothing can stop that: in memory.
    pub(crate) fn commit_time(&self) -> Duration {
        /// For one entry; a third of what writing it took.
        const ENTRY: Duration = Duration::from_nanos(500);
        if self.waits() { Duration::ZERO } else { ENTRY.saturating_mul(self.overlay.write_count()) }
    }

    /// Whether the present run has written anything.
    #[inline]
    pub(crate) fn is_dirty(&self) -> bool {
        !self.overlay.is_empty()
    }

    /// Ends a run: its writes go to the store. When that fails, they have to be rolled back.
    pub(crate) fn commit(&mut self) -> StoreResult<()> {
        self.meter = None;
        if self.overlay.is_empty() {
            if self.lease_end.is_some_and(|end| self.next_id > end) {
                // Lua may hold tables that it has not stored yet. A store that fails is no concern of this run: a later
                // one will need it.
                if let Err(error) = self.extend_lease()
                    && error.is_conflict()
                {
                    return Err(error);
                }
                self.overlay.begin(self.next_id);
            }
            if !self.begun {
                return Ok(());
            }
            self.begun = false;
            return self.backing.store().commit(&mut Batch(&mut store::WriteList::default()));
        }
        let mut saved = self.saved_next_id;
        if matches!(self.backing, Backing::Tiered(_)) {
            self.store()?;
            if self.lease_end.is_some() {
                self.extend_lease()?;
            } else {
                if self.check_writer()? {
                    self.overlay.put(OWN, WRITER_KEY, Some(&self.own_mark));
                }
                if self.next_id > saved {
                    saved = noted_next(self.next_id);
                    self.overlay.put(OWN, NEXT_KEY, Some(&encode_next(saved)));
                }
            }
        }
        let created = self.overlay.created();
        // What is on its way may arrive, with its numbers, if the store fails: by a panic, too.
        let floor = std::mem::replace(&mut self.floor, self.next_id);
        self.interrupted = true;
        let committed = self.backing.commit(&mut self.overlay);
        self.interrupted = committed.as_ref().is_err_and(|error| !error.is_conflict());
        if !self.interrupted {
            self.floor = floor;
        }
        committed?;
        if self.lease_end.is_none() {
            self.writer = Some(self.own_mark.to_vec());
        }
        self.saved_next_id = saved;
        if self.next_id > self.floor {
            self.usual = self.next_id - self.floor;
        }
        self.floor = self.next_id;
        self.begun = false;
        self.created += created;
        self.overlay.begin(self.next_id);
        Ok(())
    }

    /// Fails when somebody else has written to a store that has one user at a time: the two would take each other's
    /// tables for their own. Whether a commit has to say who it is from.
    fn check_writer(&mut self) -> StoreResult<bool> {
        let process = process::id();
        if self.process != process {
            getrandom::fill(&mut self.own_mark).map_err(|error| error.to_string())?;
            self.process = process;
        }
        let mut writer = None;
        self.backing.store().get(OWN, WRITER_KEY, &mut |value| writer = Some(value.to_vec()))?;
        let is_own = writer.as_deref() == Some(&self.own_mark);
        if !is_own && writer != self.writer {
            return Err("another sandbox has written to it since this one opened it, but only one sandbox at a time may use this store".into());
        }
        Ok(!is_own)
    }

    /// Ends a run: its writes are dropped.
    pub(crate) fn rollback(&mut self) {
        self.meter = None;
        self.overlay.clear();
        self.end();
        self.overlay.begin(self.next_id);
    }

    /// The number of tables, when the store can list them.
    pub(crate) fn count(&mut self) -> StoreResult<Option<usize>> {
        let mut n = 0;
        let listed = self.store()?.tables(&mut |id| n += usize::from(is_valid(id)))?;
        if let Backing::Tiered(tiered) = &mut self.backing {
            n += tiered.local_len() + usize::from(tiered.size(IO)? > 0);
        }
        Ok(listed.then_some(n))
    }
}

fn function_refused(table: u32, key: &str) -> StoreError {
    let key = key.escape_debug();
    format!("there is a function in table {table} under '{key}', and this sandbox loads none from its store (stored_functions)").into()
}

/// Adds the ids of the tables that a value refers to.
fn add_references(value: &[u8], ids: &mut Vec<u32>) {
    if codec::may_refer(value) {
        codec::references(value, &mut |id| ids.push(id));
    }
}
