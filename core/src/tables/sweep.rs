//! Removal of orphans: tables that nothing refers to any more.

use std::time::Instant;

use super::{Backing, Clock, IdSet, Tables, id_set};
use crate::store::reserved::{HOME, IO, OWN, RUNS, is_valid};
use crate::store::{StoreResult, TableStore};
use crate::util::ByteReader;
use crate::value::codec;

/// The last removal of orphans: the next free table number then, and how much there was to look at.
pub(super) const SWEPT_KEY: &str = "swept";

/// Fewer new tables than this are not worth a sweep.
const MIN_SWEEP: usize = 256;

/// So many entries are looked at in the time that it takes to make a table.
const ENTRIES_PER_TABLE: u64 = 16;

impl Tables {
    /// Whether a look for orphans has to come before a commit, so that they never come to the store. Otherwise it comes
    /// after.
    pub(crate) fn sweeps_first(&self) -> bool {
        matches!(self.backing, Backing::Memory(_))
    }

    /// Whether so many tables were made that a look for orphans is due. The work is proportional to the number of
    /// tables, so it is done when that has doubled.
    #[inline]
    pub(crate) fn wants_sweep(&self) -> bool {
        let created = self.created + self.overlay.created();
        (created > MIN_SWEEP && created > self.live) || self.store_is_due() || self.asks_for_held()
    }

    /// Whether the store wants to know which of its tables are held here.
    #[inline]
    pub(crate) fn asks_for_held(&self) -> bool {
        matches!(&self.backing, Backing::Tiered(store) if store.asks_for_held())
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

    /// Every table that can be reached from these, and how many entries were looked at. Fails when the present run has
    /// no time left.
    pub(super) fn reachable(&mut self, roots: impl IntoIterator<Item = u32>) -> StoreResult<(IdSet, u64)> {
        let mut clock = Clock::new(self.deadline);
        let mut seen = id_set();
        let mut pending = Vec::new();
        let mut weight = 0;
        for id in roots {
            if seen.insert(id) {
                pending.push(id);
            }
        }
        while let Some(table) = pending.pop() {
            self.scan_any(table, &mut |_, value| {
                if clock.is_over() {
                    return;
                }
                weight += 1;
                codec::references(value, &mut |id| {
                    if seen.insert(id) {
                        pending.push(id);
                    }
                });
            })?;
            clock.check()?;
        }
        Ok((seen, weight))
    }

    /// Whether a table is empty, as far as is known without asking a store elsewhere.
    pub(crate) fn is_empty_here(&mut self, table: u32) -> bool {
        match &mut self.backing {
            Backing::Memory(store) => self.overlay.size(store, table).is_ok_and(|n| n == 0),
            Backing::Tiered(tiered) => {
                tiered.local_of(table).is_some_and(|store| store.entries(table).next().is_none())
                    && !self.overlay.touches(table)
            }
        }
    }

    /// Removes every table that cannot be reached from these or from `_home` and `_io`, as part of the present run.
    /// `all`: also when there is little to expect. Gives what it removed; of the `empty` ones those stay that can't be
    /// reached either.
    pub(crate) fn sweep(&mut self, held: Vec<u32>, all: bool, empty: &mut Vec<u32>) -> StoreResult<Vec<u32>> {
        let late = |tables: &Self| tables.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let swept = match &self.backing {
            Backing::Memory(_) => self.sweep_memory(held, empty),
            Backing::Tiered(_) => self.sweep_tiered(held, all, empty),
        };
        if swept.is_err() && late(self) {
            // It has to wait until there is more to expect, or every run would spend its time here.
            self.created = 0;
            self.live = self.live.max(MIN_SWEEP).saturating_mul(2);
            self.swept = (self.next_id, self.swept.1.max(MIN_SWEEP as u64).saturating_mul(2));
            empty.clear();
            return Ok(Vec::new());
        }
        swept
    }

    fn sweep_memory(&mut self, held: Vec<u32>, empty: &mut Vec<u32>) -> StoreResult<Vec<u32>> {
        let (seen, weight) = self.reachable([HOME, IO].into_iter().chain(held))?;
        empty.retain(|id| !seen.contains(id));
        let mut all = id_set();
        self.backing.store().tables(&mut |id| {
            all.insert(id);
        })?;
        all.extend(self.overlay.written_tables());
        self.live = 0;
        let mut gone = Vec::new();
        for id in all {
            if !is_valid(id) || seen.contains(&id) {
                self.live += 1;
            } else {
                self.overlay.remove_table(id);
                gone.push(id);
            }
        }
        // The work follows from the entries, and making a table costs as much as looking at some of them.
        self.live = self.live.max(usize::try_from(weight / ENTRIES_PER_TABLE).unwrap_or(usize::MAX));
        // What the present run made is counted here already.
        self.created = 0;
        self.overlay.forget_created();
        Ok(gone)
    }

    /// Tables in memory are looked at alone: the store never refers to them. Those in the store are looked at when the
    /// sandbox is its only user, and seldom, because that reads all of it.
    fn sweep_tiered(&mut self, held: Vec<u32>, all: bool, empty: &mut Vec<u32>) -> StoreResult<Vec<u32>> {
        if self.is_dirty() {
            empty.clear();
            return Ok(Vec::new());
        }
        // What is in memory.
        let mut seen = id_set();
        let mut outside = id_set();
        let mut pending: Vec<u32> = held.into_iter().chain([IO]).collect();
        let Backing::Tiered(tiered) = &mut self.backing else {
            return Ok(Vec::new());
        };
        let mut clock = Clock::new(self.deadline);
        while let Some(id) = pending.pop() {
            if !tiered.is_local(id) {
                outside.insert(id);
            } else if seen.insert(id) {
                tiered.scan(id, &mut |_, value| {
                    if !clock.is_over() {
                        codec::references(value, &mut |id| pending.push(id));
                    }
                })?;
            }
            clock.check()?;
        }
        empty.retain(|id| !seen.contains(id));
        let mut gone: Vec<u32> = tiered.local_ids().filter(|id| !seen.contains(id)).collect();
        for id in &gone {
            tiered.remove_local(*id)?;
        }
        self.live = tiered.local_len();
        self.created = 0;
        // What is in the store.
        if tiered.is_shared() {
            if all || tiered.asks_for_held() {
                let held: Vec<u32> = outside.into_iter().collect();
                tiered.share_held(&held, all)?;
            }
            return Ok(gone);
        }
        let due = self.store_is_due();
        if !(due || all) {
            return Ok(gone);
        }
        let mut known = id_set();
        if let Backing::Tiered(tiered) = &self.backing {
            known.extend(tiered.moved());
        }
        let (seen, weight) = self.reachable(outside.into_iter().chain([HOME, RUNS]))?;
        self.store()?.tables(&mut |id| {
            known.insert(id);
        })?;
        let orphans: Vec<u32> =
            known.into_iter().filter(|id| is_valid(*id) && *id != IO && !seen.contains(id)).collect();
        let any = !orphans.is_empty();
        for id in &orphans {
            self.overlay.remove_table(*id);
        }
        gone.extend(orphans);
        if any || due {
            self.overlay.put(OWN, SWEPT_KEY, Some(&encode_swept(self.next_id, weight)));
            self.commit()?;
        }
        self.swept = (self.next_id, weight);
        Ok(gone)
    }
}

/// Two numbers, little-endian.
fn encode_swept(next: u32, weight: u64) -> Vec<u8> {
    [&next.to_le_bytes()[..], &weight.to_le_bytes()].concat()
}

pub(super) fn decode_swept(value: &[u8]) -> Option<(u32, u64)> {
    let mut reader = ByteReader::new(value);
    let swept = (reader.u32()?, reader.u64()?);
    reader.rest.is_empty().then_some(swept)
}
