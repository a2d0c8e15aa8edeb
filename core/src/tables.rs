//! A sandbox's tables: the store, the writes of the present run, table numbers, and orphans.

use ahash::RandomState;
use hashbrown::HashSet;

use crate::StoreLimit;
use crate::codec::{self, tag};
use crate::overlay::Overlay;
use crate::store::{MemoryStore, StoreResult, TableStore};
use crate::usage::Meter;

/// `_home`, unless another table is attached.
pub(crate) const HOME: u32 = 1;
/// `_io`
pub(crate) const IO: u32 = 2;
/// The first id for other tables.
const FIRST_FREE: u32 = 3;
/// The library's own table.
pub(crate) const OWN: u32 = u32::MAX;
const NEXT_KEY: &str = "next";

/// The next free id is written down in steps of this, so that not every new table costs a write.
const ID_STEP: u32 = 64;

/// Fewer new tables than this are not worth a sweep.
const MIN_SWEEP: usize = 256;

type IdSet = HashSet<u32, RandomState>;

fn id_set() -> IdSet {
    HashSet::with_hasher(RandomState::new())
}

/// The tables of one sandbox.
pub(crate) struct Tables {
    store: Box<dyn TableStore>,
    overlay: Overlay,
    /// No table with this id or a higher one was ever seen.
    next_id: u32,
    /// As the store knows it.
    saved_next_id: u32,
    /// Tables that were there after the last sweep.
    live: usize,
    /// Tables made since then.
    created: usize,
    /// Tables made since opening, for a store that can't list its tables. `None` when it can.
    session: Option<IdSet>,
    meter: Meter,
    /// Whether `meter` knows what the store held when the present run began.
    metered: bool,
}

/// Whether a guest may use this id.
#[inline]
pub(crate) fn is_valid(id: u32) -> bool {
    id != 0 && id != OWN
}

impl Tables {
    /// Tables in memory.
    pub(crate) fn in_memory() -> Self {
        Tables::with(Box::new(MemoryStore::new()), FIRST_FREE, FIRST_FREE, None)
    }

    /// Tables in a store that may hold something already.
    pub(crate) fn open(mut store: Box<dyn TableStore>) -> StoreResult<Self> {
        let mut saved = None;
        store.get(OWN, NEXT_KEY, &mut |value| {
            if let [tag::INTEGER, number @ ..] = value
                && let Ok(number) = number.try_into()
            {
                saved = u32::try_from(i64::from_le_bytes(number)).ok();
            }
        })?;
        let session = Some(id_set());
        if let Some(next) = saved {
            return Ok(Tables::with(store, next.max(FIRST_FREE), next, session));
        }
        // Somebody else filled this store: look which tables it has.
        let mut tables = Tables::with(store, FIRST_FREE, FIRST_FREE, session);
        let mut highest = IO;
        tables.store.tables(&mut |id| {
            if is_valid(id) {
                highest = highest.max(id);
            }
        })?;
        let seen = tables.reachable([HOME, IO])?;
        let highest = seen.into_iter().filter(|id| is_valid(*id)).fold(highest, u32::max);
        tables.note_id(highest);
        Ok(tables)
    }

    fn with(store: Box<dyn TableStore>, next_id: u32, saved_next_id: u32, session: Option<IdSet>) -> Self {
        let mut tables = Tables {
            store,
            overlay: Overlay::new(),
            next_id,
            saved_next_id,
            live: 0,
            created: 0,
            session,
            meter: Meter::default(),
            metered: false,
        };
        tables.overlay.begin(next_id);
        tables
    }

    /// The lowest id that no table has.
    pub(crate) fn next_id(&self) -> u32 {
        self.next_id
    }

    /// Remembers that this id is taken.
    #[inline]
    pub(crate) fn note_id(&mut self, id: u32) {
        if id >= self.next_id && is_valid(id) {
            self.next_id = id.saturating_add(1);
        }
    }

    #[inline]
    pub(crate) fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        if self.overlay.is_empty() {
            return self.store.get(table, key, read);
        }
        self.overlay.get(&mut *self.store, table, key, read)
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
            [tag::TABLE, ..] => codec::references(value, &mut |id| self.note_id(id)),
            _ => {}
        }
        self.overlay.put(table, key, Some(value));
    }

    /// As [`set`](Self::set) when there is room for it; false when there is not.
    #[inline]
    pub(crate) fn set_within(&mut self, table: u32, key: &str, value: &[u8], limit: &StoreLimit) -> StoreResult<bool> {
        if !self.metered {
            self.begin_metering()?;
        }
        let size = (key.len() + value.len()) as u64;
        if !self.meter.add_surely(size, limit) && !self.fits(table, key, size, limit)? {
            return Ok(false);
        }
        self.set(table, key, value);
        Ok(true)
    }

    #[cold]
    fn begin_metering(&mut self) -> StoreResult<()> {
        self.meter.begin(self.store.usage()?.unwrap_or_default());
        self.metered = true;
        if !self.overlay.is_empty() {
            // The host wrote something in this run already.
            self.count_exactly()?;
        }
        Ok(())
    }

    fn count_exactly(&mut self) -> StoreResult<()> {
        let usage = self.overlay.usage_after(&mut *self.store, self.meter.before)?;
        self.meter.set_exact(usage);
        Ok(())
    }

    /// Near the limit: what was there before counts.
    #[cold]
    fn fits(&mut self, table: u32, key: &str, size: u64, limit: &StoreLimit) -> StoreResult<bool> {
        if !self.meter.is_exact() {
            self.count_exactly()?;
        }
        let old = self.entry_size(table, key)?;
        Ok(self.meter.change(old, Some(size), limit))
    }

    fn entry_size(&mut self, table: u32, key: &str) -> StoreResult<Option<u64>> {
        let mut size = None;
        self.get(table, key, &mut |value| size = Some((key.len() + value.len()) as u64))?;
        Ok(size)
    }

    pub(crate) fn delete(&mut self, table: u32, key: &str) {
        if self.metered
            && self.meter.is_exact()
            && let Ok(old) = self.entry_size(table, key)
        {
            self.meter.change(old, None, &StoreLimit::UNLIMITED);
        }
        self.overlay.put(table, key, None);
    }

    pub(crate) fn contains(&mut self, table: u32, key: &str) -> StoreResult<bool> {
        self.get(table, key, &mut |_| {})
    }

    pub(crate) fn exists(&mut self, table: u32) -> StoreResult<bool> {
        Ok(table == HOME || table == IO || self.overlay.exists(&mut *self.store, table)?)
    }

    pub(crate) fn size(&mut self, table: u32) -> StoreResult<u64> {
        self.overlay.size(&mut *self.store, table)
    }

    pub(crate) fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        self.overlay.keys(&mut *self.store, table, visit)
    }

    pub(crate) fn scan(&mut self, table: u32, visit: &mut dyn FnMut(&str, &[u8])) -> StoreResult<()> {
        self.overlay.scan(&mut *self.store, table, visit)
    }

    /// Whether the present run has written anything.
    #[inline]
    pub(crate) fn is_dirty(&self) -> bool {
        !self.overlay.is_empty()
    }

    /// Ends a run: its writes go to the store.
    pub(crate) fn commit(&mut self) -> StoreResult<()> {
        if self.overlay.is_empty() {
            return Ok(());
        }
        let saved = self.saved_next_id;
        if self.next_id > saved {
            self.saved_next_id = self.next_id.saturating_add(ID_STEP - 1) / ID_STEP * ID_STEP;
            let mut number = [tag::INTEGER; 9];
            if let Some(part) = number.last_chunk_mut() {
                *part = i64::from(self.saved_next_id).to_le_bytes();
            }
            self.overlay.put(OWN, NEXT_KEY, Some(&number));
        }
        if let Some(session) = &mut self.session {
            session.extend(self.overlay.written_tables().filter(|id| is_valid(*id)));
        }
        let created = self.overlay.created();
        let result = self.overlay.commit(&mut *self.store);
        match &result {
            Ok(()) => self.created += created,
            Err(_) => self.saved_next_id = saved,
        }
        self.overlay.begin(self.next_id);
        self.metered = false;
        result
    }

    /// Ends a run: its writes are dropped.
    pub(crate) fn rollback(&mut self) {
        self.overlay.clear();
        self.overlay.begin(self.next_id);
        self.metered = false;
    }

    /// Whether so many tables were made that a look for orphans is due. The work is proportional to the number of tables, so it is done when
    /// that has doubled.
    #[inline]
    pub(crate) fn wants_sweep(&self) -> bool {
        let created = self.created + self.overlay.created();
        created > MIN_SWEEP && created > self.live
    }

    /// Every table that can be reached from these.
    fn reachable(&mut self, roots: impl IntoIterator<Item = u32>) -> StoreResult<IdSet> {
        let mut seen = id_set();
        let mut pending = Vec::new();
        for id in roots {
            if seen.insert(id) {
                pending.push(id);
            }
        }
        while let Some(table) = pending.pop() {
            self.scan(table, &mut |_, value| {
                codec::references(value, &mut |id| {
                    if seen.insert(id) {
                        pending.push(id);
                    }
                });
            })?;
        }
        Ok(seen)
    }

    /// Removes every table that cannot be reached from these, as part of the present run.
    pub(crate) fn sweep(&mut self, roots: impl IntoIterator<Item = u32>) -> StoreResult<()> {
        let seen = self.reachable([HOME, IO].into_iter().chain(roots))?;
        let mut all = id_set();
        let listed = self.store.tables(&mut |id| {
            all.insert(id);
        })?;
        if listed {
            self.session = None;
        }
        all.extend(self.overlay.written_tables());
        all.extend(self.session.iter().flatten().copied());
        let orphans = all.iter().filter(|id| is_valid(**id) && !seen.contains(*id));
        for id in orphans.copied().collect::<Vec<_>>() {
            self.overlay.remove_table(id);
            all.remove(&id);
            if let Some(session) = &mut self.session {
                session.remove(&id);
            }
        }
        self.live = all.len();
        // What the present run made is counted here already.
        self.created = 0;
        self.overlay.forget_created();
        Ok(())
    }

    /// The number of tables in the store, when it can list them.
    pub(crate) fn count(&mut self) -> StoreResult<Option<usize>> {
        let mut n = 0;
        let listed = self.store.tables(&mut |id| n += usize::from(is_valid(id)))?;
        Ok(listed.then_some(n))
    }
}
