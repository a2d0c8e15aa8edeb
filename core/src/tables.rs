//! A sandbox's tables: the store, the writes of the present run, table numbers, and orphans.

mod image;

use ahash::RandomState;
use hashbrown::HashSet;

use crate::StoreLimit;
use crate::codec::{self, tag};
use crate::overlay::Overlay;
use crate::store::{self, MemoryStore, StoreError, StoreResult, TableStore, Tiered, Usage};
use crate::usage::Meter;
pub(crate) use image::TableImage;

/// `_home`, unless another table is attached.
pub(crate) const HOME: u32 = 1;
/// `_io`
pub(crate) const IO: u32 = 2;
/// The first id for other tables.
pub(crate) const FIRST_FREE: u32 = 3;
/// The library's own table.
pub(crate) const OWN: u32 = u32::MAX;
/// The next free table number.
pub(crate) const NEXT_KEY: &str = "next";
/// What an interrupted commit has to take back.
pub(crate) const UNDO_KEY: &str = "undo";
/// The last removal of orphans: the next free table number then, and how much there was to look at.
const SWEPT_KEY: &str = "swept";

/// The next free id is written down in steps of this, so that not every new table costs a write.
const ID_STEP: u32 = 64;

/// The next free id as it is written down.
pub(crate) fn noted_next(next: u32) -> u32 {
    next.saturating_add(ID_STEP - 1) / ID_STEP * ID_STEP
}

/// Numbers are reserved in steps of this at first, of `MAX_LEASE` for a sandbox that makes many tables.
const FIRST_LEASE: u32 = 16;
const MAX_LEASE: u32 = 1 << 14;

/// Fewer new tables than this are not worth a sweep.
const MIN_SWEEP: usize = 256;

pub(crate) type IdSet = HashSet<u32, RandomState>;

pub(crate) fn id_set() -> IdSet {
    HashSet::with_hasher(RandomState::new())
}

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
}

/// The tables of one sandbox.
pub(crate) struct Tables {
    backing: Backing,
    overlay: Overlay,
    /// No table with this id or a higher one was ever seen.
    next_id: u32,
    /// As the store knows it.
    saved_next_id: u32,
    /// Where the reserved numbers end, for a store that gives them out.
    lease_end: Option<u32>,
    lease_step: u32,
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
}

/// Whether a guest may use this id.
#[inline]
pub(crate) fn is_valid(id: u32) -> bool {
    id != 0 && id != OWN
}

/// The next free id as it is stored: an integer, as scripts store it.
pub(crate) fn encode_next(next: u32) -> [u8; 9] {
    let mut number = [tag::INTEGER; 9];
    if let Some(part) = number.last_chunk_mut() {
        *part = i64::from(next).to_le_bytes();
    }
    number
}

pub(crate) fn decode_next(value: &[u8]) -> Option<u32> {
    let [tag::INTEGER, number @ ..] = value else {
        return None;
    };
    u32::try_from(i64::from_le_bytes(number.try_into().ok()?)).ok()
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
        store.rollback();
        let mut tables = Tables::with(Backing::Tiered(Box::new(Tiered::new(store))), FIRST_FREE, FIRST_FREE, lease);
        tables.swept = swept;
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
                let seen = tables.reachable([HOME, IO])?.0;
                let highest = seen.into_iter().filter(|id| is_valid(*id)).fold(highest, u32::max);
                tables.end();
                tables.start_at(highest.saturating_add(1), FIRST_FREE);
            }
        }
        if lease.is_none()
            && let Backing::Tiered(tiered) = &mut tables.backing
        {
            tiered.add_own(tables.next_id, OWN);
        }
        Ok(tables)
    }

    fn with(backing: Backing, next_id: u32, saved_next_id: u32, lease_end: Option<u32>) -> Self {
        let mut tables = Tables {
            backing,
            overlay: Overlay::new(),
            next_id,
            saved_next_id,
            lease_end,
            lease_step: 0,
            live: 0,
            created: 0,
            swept: (FIRST_FREE, 0),
            begun: false,
            interrupted: false,
            meter: None,
        };
        tables.overlay.begin(next_id);
        tables
    }

    fn start_at(&mut self, next_id: u32, saved: u32) {
        self.next_id = next_id;
        self.saved_next_id = saved;
        self.overlay.begin(next_id);
    }

    /// The lowest id that no table has.
    pub(crate) fn next_id(&self) -> u32 {
        self.next_id
    }

    /// Remembers that this id is taken.
    #[inline]
    pub(crate) fn note_id(&mut self, id: u32) {
        if id >= self.next_id && is_valid(id) && !(self.lease_end.is_some() && self.overlay.is_foreign(id)) {
            self.next_id = id.saturating_add(1);
        }
    }

    /// Whether the guest has to be asked for the next number that it would give, before a commit.
    pub(crate) fn wants_counter(&self) -> bool {
        self.lease_end.is_some()
    }

    /// The next number that the guest would give.
    pub(crate) fn note_counter(&mut self, next: u32) {
        self.next_id = self.next_id.max(next);
    }

    /// The store, which knows that a run has begun.
    #[inline]
    fn store(&mut self) -> StoreResult<&mut dyn TableStore> {
        if !self.begun {
            self.begin()?;
        }
        Ok(self.backing.store())
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

    /// A value of the store was read: the tables that it refers to are there, whoever made them.
    #[inline]
    fn note_read(&mut self, table: u32, ids: &[u32]) {
        if let Backing::Tiered(store) = &self.backing
            && !store.is_local(table)
        {
            let end = self.lease_end.unwrap_or(OWN);
            ids.iter().filter(|id| **id >= end).for_each(|id| self.overlay.note_foreign(*id));
        }
    }

    #[inline]
    pub(crate) fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
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
        self.store()?;
        let mut ids = Vec::new();
        let found = self.overlay.get(self.backing.store(), table, key, &mut |value| {
            if codec::may_refer(value) {
                codec::references(value, &mut |id| ids.push(id));
            }
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
            [tag::TABLE, ..] => codec::references(value, &mut |id| self.note_id(id)),
            _ => {}
        }
        self.overlay.put(table, key, Some(value));
    }

    /// As [`set`](Self::set) when there is room for it; false when there is not.
    #[inline]
    pub(crate) fn set_within(&mut self, table: u32, key: &str, value: &[u8], limit: &StoreLimit) -> StoreResult<bool> {
        let size = (key.len() + value.len()) as u64;
        if !self.meter()?.add_surely(size, limit) && !self.fits(table, key, size, limit)? {
            return Ok(false);
        }
        self.set(table, key, value);
        Ok(true)
    }

    #[inline]
    fn meter(&mut self) -> StoreResult<&mut Meter> {
        let meter = match self.meter {
            Some(meter) => meter,
            None => self.new_meter()?,
        };
        Ok(self.meter.insert(meter))
    }

    #[cold]
    fn new_meter(&mut self) -> StoreResult<Meter> {
        let usage = self.store()?.usage()?;
        let mut meter = Meter::new(usage.unwrap_or_default());
        if !self.overlay.is_empty() {
            // The host wrote something in this run already.
            meter.set_exact(self.usage_after(meter.before)?);
        }
        Ok(meter)
    }

    fn usage_after(&mut self, before: Usage) -> StoreResult<Usage> {
        self.store()?;
        self.overlay.usage_after(self.backing.store(), before)
    }

    /// Near the limit: what was there before counts.
    #[cold]
    fn fits(&mut self, table: u32, key: &str, size: u64, limit: &StoreLimit) -> StoreResult<bool> {
        let meter = *self.meter()?;
        if !meter.is_exact() {
            let usage = self.usage_after(meter.before)?;
            self.meter()?.set_exact(usage);
        }
        let old = self.entry_size(table, key)?;
        Ok(self.meter()?.change(old, Some(size), limit))
    }

    fn entry_size(&mut self, table: u32, key: &str) -> StoreResult<Option<u64>> {
        let mut size = None;
        self.get(table, key, &mut |value| size = Some((key.len() + value.len()) as u64))?;
        Ok(size)
    }

    pub(crate) fn delete(&mut self, table: u32, key: &str) {
        if self.meter.is_some_and(|meter| meter.is_exact())
            && let Ok(old) = self.entry_size(table, key)
            && let Some(meter) = &mut self.meter
        {
            meter.change(old, None, &StoreLimit::UNLIMITED);
        }
        self.overlay.put(table, key, None);
    }

    pub(crate) fn contains(&mut self, table: u32, key: &str) -> StoreResult<bool> {
        self.get(table, key, &mut |_| {})
    }

    pub(crate) fn exists(&mut self, table: u32) -> StoreResult<bool> {
        if table == HOME || table == IO {
            return Ok(true);
        }
        self.store()?;
        self.overlay.exists(self.backing.store(), table)
    }

    pub(crate) fn size(&mut self, table: u32) -> StoreResult<u64> {
        self.store()?;
        self.overlay.size(self.backing.store(), table)
    }

    pub(crate) fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        self.store()?;
        self.overlay.keys(self.backing.store(), table, visit)
    }

    pub(crate) fn scan(&mut self, table: u32, visit: &mut dyn FnMut(&str, &[u8])) -> StoreResult<()> {
        self.store()?;
        if self.lease_end.is_none() {
            return self.overlay.scan(self.backing.store(), table, visit);
        }
        let mut ids = Vec::new();
        self.overlay.scan(self.backing.store(), table, &mut |key, value| {
            if codec::may_refer(value) {
                codec::references(value, &mut |id| ids.push(id));
            }
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
        self.store()?;
        if self.lease_end.is_none() {
            return self.overlay.scan_after(self.backing.store(), table, after, visit);
        }
        let mut ids = Vec::new();
        let known = self.overlay.scan_after(self.backing.store(), table, after, &mut |key, value| {
            if let Some(value) = value.filter(|value| codec::may_refer(value)) {
                codec::references(value, &mut |id| ids.push(id));
            }
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
                // Lua may hold tables that it has not stored yet. A store that fails is no concern of this run: a later one will need it.
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
            return self.backing.store().commit(&mut store::Batch(store::Source::List(&store::WriteList::default())));
        }
        let mut saved = self.saved_next_id;
        if matches!(self.backing, Backing::Tiered(_)) {
            self.store()?;
            if self.lease_end.is_some() {
                self.extend_lease()?;
            } else if self.next_id > saved {
                saved = noted_next(self.next_id);
                self.overlay.put(OWN, NEXT_KEY, Some(&encode_next(saved)));
            }
        }
        let created = self.overlay.created();
        if let Err(error) = self.overlay.commit(self.backing.store()) {
            self.interrupted = !error.is_conflict();
            return Err(error);
        }
        self.saved_next_id = saved;
        self.begun = false;
        self.created += created;
        self.overlay.begin(self.next_id);
        Ok(())
    }

    /// Reserves the numbers that this run has taken. When somebody else has them, the run has to be repeated with others.
    fn extend_lease(&mut self) -> StoreResult<()> {
        let Some(end) = self.lease_end.filter(|end| self.next_id > *end) else {
            return Ok(());
        };
        let needed = self.next_id - end;
        let count = needed.max(self.lease_step);
        self.lease_step = (self.lease_step.saturating_mul(4)).clamp(FIRST_LEASE, MAX_LEASE);
        let Some(first) = self.backing.store().reserve_ids(count)? else {
            return Err("the store gives no table numbers any more".into());
        };
        let (mut start, mut new_end) = (first, first.saturating_add(count));
        if first != end {
            // The guest counts on from what it has or from here, and needs as many again.
            loop {
                let missing = self.next_id.max(start).saturating_add(needed).saturating_sub(new_end);
                if missing == 0 {
                    break;
                }
                match self.backing.store().reserve_ids(missing)? {
                    Some(more) if more == new_end => new_end = more.saturating_add(missing),
                    Some(more) => (start, new_end) = (more, more.saturating_add(missing)),
                    None => break,
                }
            }
        }
        self.lease_end = Some(new_end);
        if let Backing::Tiered(store) = &mut self.backing {
            store.add_own(start, new_end);
        }
        if first == end {
            return Ok(());
        }
        self.next_id = self.next_id.max(start);
        Err(StoreError::conflict("another sandbox took the same numbers for new tables"))
    }

    /// Ends a run: its writes are dropped.
    pub(crate) fn rollback(&mut self) {
        self.meter = None;
        self.overlay.clear();
        self.end();
        self.overlay.begin(self.next_id);
    }

    /// Whether a look for orphans has to come before a commit, so that they never come to the store. Otherwise it comes after.
    pub(crate) fn sweeps_first(&self) -> bool {
        matches!(self.backing, Backing::Memory(_))
    }

    /// Whether so many tables were made that a look for orphans is due. The work is proportional to the number of tables, so it is done when
    /// that has doubled.
    #[inline]
    pub(crate) fn wants_sweep(&self) -> bool {
        let created = self.created + self.overlay.created();
        (created > MIN_SWEEP && created > self.live) || self.store_is_due()
    }

    /// Whether a look for orphans in the store is due.
    #[inline]
    fn store_is_due(&self) -> bool {
        let made = u64::from(self.next_id.saturating_sub(self.swept.0));
        match &self.backing {
            Backing::Memory(_) => false,
            Backing::Tiered(store) => made > MIN_SWEEP as u64 && made > self.swept.1 && !store.is_shared(),
        }
    }

    /// Every table that can be reached from these, and how many entries were looked at.
    fn reachable(&mut self, roots: impl IntoIterator<Item = u32>) -> StoreResult<(IdSet, u64)> {
        let mut seen = id_set();
        let mut pending = Vec::new();
        let mut weight = 0;
        for id in roots {
            if seen.insert(id) {
                pending.push(id);
            }
        }
        while let Some(table) = pending.pop() {
            self.scan(table, &mut |_, value| {
                weight += 1;
                codec::references(value, &mut |id| {
                    if seen.insert(id) {
                        pending.push(id);
                    }
                });
            })?;
        }
        Ok((seen, weight))
    }

    /// Removes every table that cannot be reached from these or from `_home` and `_io`, as part of the present run. `all`: also when there is little to expect.
    pub(crate) fn sweep(&mut self, held: Vec<u32>, all: bool) -> StoreResult<()> {
        match &self.backing {
            Backing::Memory(_) => self.sweep_memory(held),
            Backing::Tiered(_) => self.sweep_tiered(held, all),
        }
    }

    fn sweep_memory(&mut self, held: Vec<u32>) -> StoreResult<()> {
        let (seen, _) = self.reachable([HOME, IO].into_iter().chain(held))?;
        let mut all = id_set();
        self.backing.store().tables(&mut |id| {
            all.insert(id);
        })?;
        all.extend(self.overlay.written_tables());
        self.live = 0;
        for id in all {
            if !is_valid(id) || seen.contains(&id) {
                self.live += 1;
            } else {
                self.overlay.remove_table(id);
            }
        }
        // What the present run made is counted here already.
        self.created = 0;
        self.overlay.forget_created();
        Ok(())
    }

    /// Tables in memory are looked at alone: the store never refers to them. Those in the store are looked at when the sandbox is its only
    /// user, and seldom, because that reads all of it.
    fn sweep_tiered(&mut self, held: Vec<u32>, all: bool) -> StoreResult<()> {
        if self.is_dirty() {
            return Ok(());
        }
        // What is in memory.
        let mut seen = id_set();
        let mut outside = id_set();
        let mut pending: Vec<u32> = held.into_iter().chain([IO]).collect();
        let Backing::Tiered(tiered) = &mut self.backing else {
            return Ok(());
        };
        while let Some(id) = pending.pop() {
            if !tiered.is_local(id) {
                outside.insert(id);
            } else if seen.insert(id) {
                tiered.scan(id, &mut |_, value| codec::references(value, &mut |id| pending.push(id)))?;
            }
        }
        let orphans: Vec<u32> = tiered.local_ids().filter(|id| !seen.contains(id)).collect();
        for id in orphans {
            tiered.remove_local(id)?;
        }
        self.live = tiered.local_len();
        self.created = 0;
        // What is in the store.
        let shared = tiered.is_shared();
        let due = self.store_is_due();
        if shared || !(due || all) {
            return Ok(());
        }
        let mut known = id_set();
        if let Backing::Tiered(tiered) = &self.backing {
            known.extend(tiered.moved());
        }
        let (seen, weight) = self.reachable(outside.into_iter().chain([HOME]))?;
        self.store()?.tables(&mut |id| {
            known.insert(id);
        })?;
        let orphans: Vec<u32> =
            known.into_iter().filter(|id| is_valid(*id) && *id != IO && !seen.contains(id)).collect();
        let any = !orphans.is_empty();
        for id in orphans {
            self.overlay.remove_table(id);
        }
        if any || due {
            self.overlay.put(OWN, SWEPT_KEY, Some(&encode_swept(self.next_id, weight)));
            self.commit()?;
        }
        self.swept = (self.next_id, weight);
        Ok(())
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

/// Two numbers, little-endian.
fn encode_swept(next: u32, weight: u64) -> Vec<u8> {
    [&next.to_le_bytes()[..], &weight.to_le_bytes()].concat()
}

fn decode_swept(value: &[u8]) -> Option<(u32, u64)> {
    let (next, weight) = value.split_first_chunk()?;
    Some((u32::from_le_bytes(*next), u64::from_le_bytes(weight.try_into().ok()?)))
}
