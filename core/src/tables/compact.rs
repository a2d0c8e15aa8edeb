//! Table numbers near the end of their range: before they run out, tables get low ones.

use std::collections::HashMap;

use super::{Backing, Tables, id_set};
use crate::store::reserved::{FIRST_FREE, HOME, IO, NEXT_KEY, OWN, RUNS, encode_next, is_own, is_valid};
use crate::store::{Batch, StoreResult, TableStore, WriteList};
use crate::util::SmallBytes;
use crate::value::codec;

/// Numbers from here on are few enough left to do something about it.
const LATE: u32 = 1 << 31;

impl Tables {
    /// Gives tables low numbers when the next one would be late. Only as long as nobody holds a table: before Lua runs.
    /// What nothing refers to is removed.
    pub(crate) fn compact(&mut self) -> StoreResult<()> {
        let is_alone = match &self.backing {
            Backing::Memory(_) => true,
            Backing::Tiered(tiered) => !tiered.is_shared() && tiered.is_new(),
        };
        if self.next_id < LATE || !is_alone {
            return Ok(());
        }
        self.end();
        let compacted = self.compact_now();
        self.end();
        compacted
    }

    fn compact_now(&mut self) -> StoreResult<()> {
        let in_memory = matches!(self.backing, Backing::Memory(_));
        let mut present = id_set();
        let listed = self.store()?.tables(&mut |id| {
            present.insert(id);
        })?;
        // A run that waits has the numbers in its memory.
        if !listed || present.contains(&RUNS) {
            return Ok(());
        }
        let reached = self.reachable([HOME, IO])?.0;
        let stays = |id: &u32| *id < FIRST_FREE || is_own(*id);
        // Those that are low stay, the others get the numbers between them that nobody has.
        let room = FIRST_FREE.saturating_add(u32::try_from(reached.len()).unwrap_or(LATE));
        let mut free = (FIRST_FREE..LATE).filter(|id| !reached.contains(id) && !present.contains(id));
        let mut numbers = HashMap::new();
        for id in reached.iter().filter(|id| !stays(id) && is_valid(**id) && **id >= room) {
            if let Some(number) = free.next() {
                numbers.insert(*id, number);
            }
        }
        let number = |id: u32| numbers.get(&id).copied().unwrap_or(id);
        let mut list = WriteList::default();
        for id in reached.iter().filter(|id| is_valid(**id) && (in_memory || **id != IO)) {
            self.scan_any(*id, &mut |key, value| {
                let changed = codec::renumber(value, &mut |id| number(id)).filter(|changed| changed != value);
                if number(*id) != *id || changed.is_some() {
                    let value = SmallBytes::new(changed.as_deref().unwrap_or(value));
                    list.entries.push((number(*id), SmallBytes::new(key.as_bytes()), Some(value)));
                }
            })?;
        }
        list.removed = numbers.keys().copied().collect();
        list.removed.extend(present.iter().filter(|id| !stays(id) && !reached.contains(*id)));
        list.removed.sort_unstable();
        let highest = reached.iter().filter(|id| is_valid(**id)).map(|id| number(*id)).max();
        let next = highest.unwrap_or_default().max(IO) + 1;
        if !in_memory {
            let (key, value) = (SmallBytes::new(NEXT_KEY.as_bytes()), SmallBytes::new(&encode_next(next)));
            list.entries.push((OWN, key, Some(value)));
        }
        self.backing.store().commit(&mut Batch(&mut list))?;
        self.begun = false;
        self.lease_end = self.backing.store().reserve_ids(0)?;
        self.start_at(self.lease_end.unwrap_or(next), next);
        Ok(())
    }
}
