//! Table numbers: which there are, and how new ones are reserved and remembered.

use ahash::RandomState;
use hashbrown::HashSet;

use super::{Backing, Tables};
use crate::store::reserved::{RUNS, is_valid};
use crate::store::{StoreError, StoreResult, TableStore, Write};
use crate::value::codec;

/// Numbers are reserved in steps of this at first, of `MAX_LEASE` for a sandbox that makes many tables.
const FIRST_LEASE: u32 = 16;
const MAX_LEASE: u32 = 1 << 14;

/// So many numbers may one run take of a store that gives them to several: they are gone for all.
const MOST_TAKEN: u32 = 1 << 24;

pub(crate) type IdSet = HashSet<u32, RandomState>;

pub(crate) fn id_set() -> IdSet {
    HashSet::with_hasher(RandomState::new())
}

impl Tables {
    /// The first free number, and what the store knows of it.
    pub(super) fn start_at(&mut self, next_id: u32, saved: u32) {
        self.next_id = next_id;
        self.floor = next_id;
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

    /// Lua goes on with what it has, and this is the next number that the guest would give; 0 when it starts anew.
    pub(crate) fn note_lua(&mut self, next: u32) {
        self.in_lua = next;
    }

    /// The highest number of a table that Lua may have held before the present run.
    pub(crate) fn highest_in_lua(&self) -> u32 {
        self.in_lua.saturating_sub(1)
    }

    /// How many numbers the present run has taken when the guest would give this one next.
    pub(crate) fn taken(&self, next: u32) -> u32 {
        next.saturating_sub(self.floor)
    }

    /// The highest number that this run's writes speak of.
    pub(crate) fn highest_written(&self) -> u32 {
        let mut highest = 0;
        for write in self.overlay.writes() {
            if let Write::Set { table, value, .. } = write {
                highest = highest.max(table);
                if codec::may_refer(value) {
                    codec::references(value, &mut |id| highest = highest.max(id));
                }
            }
        }
        highest
    }

    /// Numbers that the present run has taken are free again, but for this one and those before it; the next one to
    /// give.
    pub(crate) fn give_back(&mut self, used: u32) -> u32 {
        self.next_id = self.floor.max(used.saturating_add(1));
        if self.overlay.is_empty() {
            self.overlay.begin(self.next_id);
        }
        self.next_id
    }

    /// A value of the store was read: the tables that it refers to are there, whoever made them.
    #[inline]
    pub(super) fn note_read(&mut self, table: u32, ids: &[u32]) {
        if let Backing::Tiered(store) = &self.backing
            && !store.is_local(table)
        {
            let end = self.lease_end.unwrap_or(RUNS);
            ids.iter().filter(|id| **id >= end).for_each(|id| self.overlay.note_foreign(*id));
        }
    }

    /// Before a run in a store that others use: where its new tables have to begin, when others have the numbers that
    /// follow its own and those may not be enough.
    pub(crate) fn pass_by(&mut self) -> Option<u32> {
        let (end, Backing::Tiered(store)) = (self.lease_end?, &self.backing) else { return None };
        let known = store.known_next_id();
        let next = self.overlay.foreign_end().max(known.unwrap_or_default());
        // Where reserving costs nothing hardly any is left over.
        let enough =
            known.is_none() && end.saturating_sub(self.next_id) > (self.usual.saturating_mul(2)).max(FIRST_LEASE);
        if enough || next <= end.max(self.next_id) || self.is_dirty() {
            return None;
        }
        self.leave_to_others(next);
        Some(next)
    }

    /// New tables get this number and those that follow: the ones before it are others'.
    pub(super) fn leave_to_others(&mut self, next: u32) {
        (self.next_id, self.floor) = (next, next);
        self.overlay.begin(next);
    }

    /// See [`Overlay::set_own_end`](crate::overlay::Overlay::set_own_end).
    pub(crate) fn set_own_end(&mut self, end: u32) {
        self.overlay.set_own_end(end);
    }

    /// Whether the present run has taken a number for a table that it has also met as somebody else's, when the guest
    /// would give this one next: it had one for the other.
    pub(crate) fn collides(&self, next: u32) -> bool {
        self.lease_end.is_some() && self.overlay.any_foreign(self.floor..next)
    }

    /// Reserves the numbers that this run has taken. When somebody else has them, the run has to be repeated with
    /// others.
    pub(crate) fn extend_lease(&mut self) -> StoreResult<()> {
        let Some(end) = self.lease_end.map(|end| end.max(self.floor)).filter(|end| self.next_id > *end) else {
            return Ok(());
        };
        let needed = self.next_id - end;
        if needed > MOST_TAKEN {
            return Err(format!(
                "the run took {needed} numbers for new tables, more than the {MOST_TAKEN} that one run may take in a store that others use"
            )
            .into());
        }
        // Where it costs nothing there is none in store: it might not be used when others come between.
        let is_free = self.backing.store().known_next_id().is_some();
        let count = if is_free { needed } else { needed.max(self.lease_step) };
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
        self.floor = start;
        Err(StoreError::conflict("another sandbox took the same numbers for new tables"))
    }
}
