//! A hash map that keeps the order of insertion, also across removals.

use hashbrown::HashTable;

/// Maps this small are searched from front to back and have no index.
const SMALL: usize = 8;

#[derive(Clone)]
struct Entry<K, V> {
    hash: u32,
    key: K,
    value: V,
}

/// A place in the list. The first and the last gap of a row of them know each other, so that nobody has to walk along
/// it: scripts could make that long, and walk often.
#[derive(Clone)]
enum Slot<K, V> {
    Live(Entry<K, V>),
    Gap(u32),
}

impl<K, V> Slot<K, V> {
    #[inline]
    fn live(&self) -> Option<&Entry<K, V>> {
        match self {
            Slot::Live(entry) => Some(entry),
            Slot::Gap(_) => None,
        }
    }
}

/// A place in a list, with the hash of what is there, so that neither probing nor growing the index looks at the list.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) hash: u32,
    pub(crate) index: u32,
}

impl Place {
    /// The hash as the index wants it: all 64 bits in use.
    #[inline]
    pub(crate) fn spread(hash: u32) -> u64 {
        u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    #[inline]
    pub(crate) fn rehash(&self) -> u64 {
        Place::spread(self.hash)
    }
}

/// Keys and values in the order of insertion. The caller brings the hash, which has to be keyed when scripts choose the
/// keys. Removal leaves a gap; gaps are closed when there are more of them than entries, so every operation is O(1)
/// over time.
#[derive(Clone)]
pub(crate) struct OrderedMap<K, V> {
    entries: Vec<Slot<K, V>>,
    index: HashTable<Place>,
    live: usize,
}

impl<K, V> Default for OrderedMap<K, V> {
    fn default() -> Self {
        OrderedMap::new()
    }
}

impl<K, V> OrderedMap<K, V> {
    pub(crate) const fn new() -> Self {
        OrderedMap { entries: Vec::new(), index: HashTable::new(), live: 0 }
    }

    pub(crate) fn with_capacity(entries: usize) -> Self {
        OrderedMap { entries: Vec::with_capacity(entries), ..OrderedMap::new() }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    #[inline]
    fn find(&self, hash: u32, mut eq: impl FnMut(&K) -> bool) -> Option<usize> {
        if self.index.is_empty() {
            return self.entries.iter().position(|e| e.live().is_some_and(|e| e.hash == hash && eq(&e.key)));
        }
        self.index
            .find(Place::spread(hash), |place| {
                place.hash == hash && self.entry(place.index).is_some_and(|e| eq(&e.key))
            })
            .map(|place| place.index as usize)
    }

    #[inline]
    fn entry(&self, i: u32) -> Option<&Entry<K, V>> {
        self.entries.get(i as usize)?.live()
    }

    /// The value under a key with this hash, of which the lower half is used.
    #[inline]
    pub(crate) fn get(&self, hash: u64, eq: impl FnMut(&K) -> bool) -> Option<&V> {
        let i = self.find(hash as u32, eq)?;
        self.entries.get(i)?.live().map(|e| &e.value)
    }

    /// Where a key is, for [`next_from`](Self::next_from).
    pub(crate) fn position(&self, hash: u64, eq: impl FnMut(&K) -> bool) -> Option<usize> {
        self.find(hash as u32, eq)
    }

    /// Sets a value; the one that was there before.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, key: K, value: V, eq: impl Fn(&K, &K) -> bool) -> Option<V> {
        let hash = hash as u32;
        if let Some(i) = self.find(hash, |other| eq(other, &key))
            && let Some(Slot::Live(entry)) = self.entries.get_mut(i)
        {
            return Some(std::mem::replace(&mut entry.value, value));
        }
        let i = self.entries.len();
        if i == 0 {
            // A script can make any number of tables of one entry: they have no room for more.
            self.entries.reserve_exact(1);
        }
        self.entries.push(Slot::Live(Entry { hash, key, value }));
        self.live += 1;
        if !self.index.is_empty() {
            self.index.insert_unique(Place::spread(hash), Place { hash, index: i as u32 }, Place::rehash);
        } else if i >= SMALL {
            self.rebuild_index();
        }
        None
    }

    pub(crate) fn remove(&mut self, hash: u64, eq: impl FnMut(&K) -> bool) -> Option<(K, V)> {
        let hash = hash as u32;
        let i = self.find(hash, eq)?;
        if !self.index.is_empty()
            && let Ok(found) = self.index.find_entry(Place::spread(hash), |place| place.index as usize == i)
        {
            found.remove();
        }
        let slot = self.entries.get_mut(i)?;
        let Slot::Live(entry) = std::mem::replace(slot, Slot::Gap(i as u32)) else {
            return None;
        };
        self.live -= 1;
        self.join_gaps(i);
        if let Some(Slot::Gap(first)) = self.entries.last() {
            self.entries.truncate(*first as usize);
        }
        if self.entries.len() > SMALL && self.live < self.entries.len() / 2 {
            self.compact();
        } else if self.index.is_empty() && self.entries.len() > SMALL {
            self.rebuild_index();
        }
        Some((entry.key, entry.value))
    }

    /// Makes a new gap and those beside it one row.
    fn join_gaps(&mut self, i: usize) {
        let gap = |at: Option<usize>| match self.entries.get(at?) {
            Some(Slot::Gap(other)) => Some(*other as usize),
            _ => None,
        };
        let first = gap(i.checked_sub(1)).unwrap_or(i);
        let last = gap(i.checked_add(1)).unwrap_or(i);
        for (at, other) in [(first, last), (last, first)] {
            if let Some(slot) = self.entries.get_mut(at) {
                *slot = Slot::Gap(other as u32);
            }
        }
    }

    fn compact(&mut self) {
        self.entries.retain(|slot| slot.live().is_some());
        if self.entries.capacity() > 4 * self.entries.len().max(SMALL) {
            self.entries.shrink_to(2 * self.entries.len());
        }
        self.index = HashTable::new();
        if self.entries.len() > SMALL {
            self.rebuild_index();
        }
    }

    fn rebuild_index(&mut self) {
        let mut index = HashTable::with_capacity(self.entries.len() * 2);
        for (i, entry) in self.entries.iter().enumerate() {
            if let Some(entry) = entry.live() {
                let place = Place { hash: entry.hash, index: i as u32 };
                index.insert_unique(place.rehash(), place, Place::rehash);
            }
        }
        self.index = index;
    }

    /// All entries in the order of insertion.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().filter_map(Slot::live).map(|e| (&e.key, &e.value))
    }

    /// The first entry at or after a position, which is 0 or one that this gave, and the position after it.
    pub(crate) fn next_from(&self, position: usize) -> Option<(usize, &K, &V)> {
        let position = match self.entries.get(position)? {
            Slot::Gap(last) => *last as usize + 1,
            Slot::Live(_) => position,
        };
        let entry = self.entries.get(position)?.live()?;
        Some((position + 1, &entry.key, &entry.value))
    }

    pub(crate) fn into_entries(self) -> impl Iterator<Item = (K, V)> {
        self.entries.into_iter().filter_map(|slot| match slot {
            Slot::Live(entry) => Some((entry.key, entry.value)),
            Slot::Gap(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // A poor hash on purpose, so that collisions happen.
    fn hash(key: u32) -> u64 {
        u64::from(key % 7)
    }

    proptest! {
        #[test]
        fn behaves_like_a_list_of_pairs(ops in prop::collection::vec((0u32..40, prop::option::of(0u8..255)), 0..400)) {
            let mut map = OrderedMap::default();
            let mut model: Vec<(u32, u8)> = Vec::new();
            for (key, value) in ops {
                let at = model.iter().position(|(k, _)| *k == key);
                match value {
                    Some(value) => {
                        let old = map.insert(hash(key), key, value, |a, b| a == b);
                        prop_assert_eq!(old, at.map(|i| model[i].1));
                        match at {
                            Some(i) => model[i].1 = value,
                            None => model.push((key, value)),
                        }
                    }
                    None => {
                        let old = map.remove(hash(key), |k| *k == key);
                        prop_assert_eq!(old, at.map(|i| model.remove(i)));
                    }
                }
                prop_assert_eq!(map.len(), model.len());
                let now: Vec<_> = map.iter().map(|(k, v)| (*k, *v)).collect();
                prop_assert_eq!(&now, &model);
                let mut walked = Vec::new();
                let mut position = 0;
                while let Some((next, k, v)) = map.next_from(position) {
                    walked.push((*k, *v));
                    position = next;
                }
                prop_assert_eq!(&walked, &model);
                for k in 0..40 {
                    let expected = model.iter().find(|(other, _)| *other == k).map(|(_, v)| v);
                    prop_assert_eq!(map.get(hash(k), |other| *other == k), expected);
                }
            }
        }
    }
}
