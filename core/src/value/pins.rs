//! Which stored tables the host has views of.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::util::lock;

/// How often each table is viewed from the host.
#[derive(Default)]
pub(crate) struct Pins(Mutex<PinsInner>);

#[derive(Default)]
struct PinsInner {
    era: u64,
    counts: HashMap<u32, usize>,
    /// In a sandbox with a seed a view counts as long as there is anything in the table: when tables go, and with them
    /// what Lua has in memory, would depend on when the host lets go. These were viewed, 64 to a word: a script can
    /// show any number of tables.
    seen: Option<HashMap<u32, u64>>,
}

/// Where a table is noted: which word, and the bit in it.
const fn bit(id: u32) -> (u32, u64) {
    (id / 64, 1 << (id % 64))
}

impl Pins {
    pub(crate) fn new(keeps: bool) -> Self {
        Pins(Mutex::new(PinsInner { seen: keeps.then(HashMap::new), ..PinsInner::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, PinsInner> {
        lock(&self.0)
    }

    /// Counts a view of this table; the present era.
    pub(super) fn add(&self, id: u32) -> u64 {
        let mut pins = self.lock();
        *pins.counts.entry(id).or_default() += 1;
        if let Some(seen) = &mut pins.seen {
            let (word, bit) = bit(id);
            *seen.entry(word).or_default() |= bit;
        }
        pins.era
    }

    pub(super) fn remove(&self, id: u32, era: u64) {
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

    /// How many words hold what was seen.
    #[cfg(test)]
    pub(crate) fn seen_words(&self) -> usize {
        self.lock().seen.as_ref().map_or(0, HashMap::len)
    }

    /// The highest of them; 0 when there is none.
    pub(crate) fn highest(&self) -> u32 {
        self.lock().counts.keys().copied().max().unwrap_or_default()
    }

    /// Which tables the numbers mean now.
    pub(super) fn era(&self) -> u64 {
        self.lock().era
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
