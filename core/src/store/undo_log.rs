//! All or nothing for stores that only promise it for a single write.
//!
//! Before a commit writes more than one key, the old values are saved under one key of the library's own table. The
//! commit is done when that key is deleted. If the key is found later, the commit is rolled back first.

use super::{Batch, StoreResult, TableStore, Write};
use crate::store::reserved::{OWN, UNDO_KEY};
use crate::util::ByteReader;

/// One key as it was: `None` when it was not there.
type Before = (u32, String, Option<Vec<u8>>);

/// Applies a batch; when a write fails, those before it are taken back.
pub(super) fn commit<S: TableStore + ?Sized>(store: &mut S, batch: &Batch<'_>) -> StoreResult<()> {
    let single = batch.writes().nth(1).is_none() && !batch.writes().any(|w| matches!(w, Write::RemoveTable { .. }));
    if single {
        return batch.apply_to(store);
    }
    let mut before: Vec<Before> = Vec::new();
    for write in batch.writes() {
        let (Write::Set { table, key, .. } | Write::Delete { table, key }) = write else {
            continue;
        };
        let mut value = None;
        store.get(table, key, &mut |bytes| value = Some(bytes.to_vec()))?;
        before.push((table, key.to_owned(), value));
    }
    if !before.is_empty() {
        let done = store.set(OWN, UNDO_KEY, &encode(&before)).and_then(|()| {
            batch.writes().try_for_each(|write| match write {
                Write::Set { table, key, value } => store.set(table, key, value),
                Write::Delete { table, key } => store.delete(table, key),
                Write::RemoveTable { .. } => Ok(()),
            })
        });
        if let Err(error) = done.and_then(|()| store.delete(OWN, UNDO_KEY)) {
            // What can't be taken back now is taken back when the store is used next.
            let _ = recover(store);
            return Err(error);
        }
    }
    // Nothing refers to these tables any more, so there is nothing to take back when this is not finished.
    let removed = batch.writes().try_for_each(|write| match write {
        Write::RemoveTable { table } => store.remove_table(table),
        _ => Ok(()),
    });
    if before.is_empty() { removed } else { Ok(()) }
}

/// Takes back what an interrupted commit wrote.
pub(crate) fn recover<S: TableStore + ?Sized>(store: &mut S) -> StoreResult<()> {
    let mut record = None;
    store.get(OWN, UNDO_KEY, &mut |bytes| record = Some(bytes.to_vec()))?;
    let Some(record) = record else {
        return Ok(());
    };
    let before = decode(&record).ok_or("the store's own table holds a malformed value under 'undo'")?;
    for (table, key, value) in before {
        match value {
            Some(value) => store.set(table, &key, &value)?,
            None => store.delete(table, &key)?,
        }
    }
    store.delete(OWN, UNDO_KEY)
}

/// Each key as table number (u32), length of the key, length of the value plus one or 0 (u64 both), little-endian; then
/// key and value.
fn encode(before: &[Before]) -> Vec<u8> {
    let mut out = Vec::new();
    for (table, key, value) in before {
        let len = value.as_ref().map_or(0, |value| value.len() as u64 + 1);
        out.extend_from_slice(&table.to_le_bytes());
        out.extend_from_slice(&(key.len() as u64).to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(value.as_deref().unwrap_or_default());
    }
    out
}

fn decode(bytes: &[u8]) -> Option<Vec<Before>> {
    let mut reader = ByteReader::new(bytes);
    let mut before = Vec::new();
    while !reader.rest.is_empty() {
        let (table, key_len, value_len) = (reader.u32()?, reader.u64()?, reader.u64()?);
        let key = std::str::from_utf8(reader.take(usize::try_from(key_len).ok()?)?).ok()?.to_owned();
        let value = match value_len.checked_sub(1) {
            Some(len) => Some(reader.take(usize::try_from(len).ok()?)?.to_vec()),
            None => None,
        };
        before.push((table, key, value));
    }
    Some(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, WriteList};
    use crate::util::SmallBytes;

    /// Fails at one of its writes, as a process that is killed there does, and works again when it is mended.
    struct Mortal {
        inner: MemoryStore,
        writes_left: usize,
    }

    impl Mortal {
        fn write(&mut self) -> StoreResult<()> {
            self.writes_left = self.writes_left.checked_sub(1).ok_or("dead")?;
            Ok(())
        }
    }

    impl TableStore for Mortal {
        fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
            self.inner.get(table, key, read)
        }
        fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
            self.write()?;
            self.inner.set(table, key, value)
        }
        fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
            self.write()?;
            self.inner.delete(table, key)
        }
        fn size(&mut self, table: u32) -> StoreResult<u64> {
            self.inner.size(table)
        }
        fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
            self.inner.keys(table, visit)
        }
    }

    fn content(store: &mut Mortal) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        for table in [3, 4, 5, OWN] {
            store.inner.scan(table, &mut |key, value| all.push((format!("{table} {key}"), value.to_vec()))).unwrap();
        }
        all.sort();
        all
    }

    #[test]
    fn wherever_it_stops_it_is_all_or_nothing() {
        let small = |text: &str| SmallBytes::new(text.as_bytes());
        let list = WriteList {
            removed: vec![5],
            entries: vec![
                (3, small("old"), Some(small("new value"))),
                (3, small("gone"), None),
                (4, small(""), Some(small(""))),
                (4, small("never there"), None),
            ],
        };
        let start = || {
            let mut store = Mortal { inner: MemoryStore::new(), writes_left: 0 };
            for (table, key) in [(3, "old"), (3, "gone"), (3, "other"), (5, "orphan")] {
                store.inner.set(table, key, b"value").unwrap();
            }
            store
        };
        let before = content(&mut start());
        let mut done = start();
        done.writes_left = usize::MAX;
        done.commit(&mut Batch(&mut list.clone())).unwrap();
        let after = content(&mut done);
        assert_ne!(before, after);
        for writes in 0..30 {
            for recovery in 0..8 {
                let mut store = start();
                store.writes_left = writes;
                let result = store.commit(&mut Batch(&mut list.clone()));
                // It may die again while it recovers.
                store.writes_left = recovery;
                let _ = recover(&mut store);
                store.writes_left = usize::MAX;
                recover(&mut store).unwrap();
                // Only the removal of what nothing refers to may be unfinished.
                let mut now = content(&mut store);
                now.retain(|(key, _)| key != "5 orphan");
                let expected: Vec<_> = before.iter().filter(|(key, _)| key != "5 orphan").cloned().collect();
                let kept = if result.is_ok() { now == after } else { now == expected || now == after };
                assert!(kept, "{writes} {recovery} {now:?}");
            }
        }
    }
}
