//! Random writes on an overlay and on a map of maps.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::store::{Batch, MemoryStore, Write};
use crate::tables::overlay::*;

#[derive(Clone, Debug)]
enum Op {
    Set(u32, u8, u8),
    Delete(u32, u8),
    Size(u32),
    RemoveTable(u32),
    Commit,
    Rollback,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let table = 1u32..5;
    let op = prop_oneof![
        8 => (table.clone(), 0u8..12, any::<u8>()).prop_map(|(t, k, v)| Op::Set(t, k, v)),
        4 => (table.clone(), 0u8..12).prop_map(|(t, k)| Op::Delete(t, k)),
        2 => table.clone().prop_map(Op::Size),
        1 => table.prop_map(Op::RemoveTable),
        2 => Just(Op::Commit),
        1 => Just(Op::Rollback),
    ];
    prop::collection::vec(op, 0..120)
}

type Model = BTreeMap<u32, BTreeMap<String, Vec<u8>>>;

fn check(overlay: &mut Overlay, store: &mut MemoryStore, model: &Model, size_first: bool) {
    for table in 1..5 {
        let empty = BTreeMap::new();
        let expected = model.get(&table).unwrap_or(&empty);
        if size_first {
            assert_eq!(overlay.size(store, table).unwrap(), expected.len() as u64);
        }
        let mut seen = BTreeMap::new();
        overlay
            .scan(store, table, &mut |key, value| {
                assert!(seen.insert(key.to_owned(), value.to_vec()).is_none(), "a key came twice");
            })
            .unwrap();
        assert_eq!(&seen, expected);
        let mut keys = Vec::new();
        overlay.keys(store, table, &mut |key| keys.push(key.to_owned())).unwrap();
        assert_eq!(keys.len(), expected.len());
        for portion in [1, 3, 100] {
            let mut again: Vec<String> = Vec::new();
            loop {
                let (last, before) = (again.last().cloned(), again.len());
                let known = overlay
                    .scan_after(store, table, last.as_deref(), &mut |key, value| {
                        assert_eq!(expected.get(key).map(Vec::as_slice), value);
                        if value.is_some() {
                            again.push(key.to_owned());
                        }
                        again.len() < before + portion
                    })
                    .unwrap();
                assert!(known);
                if again.len() == before {
                    break;
                }
            }
            assert_eq!(again, keys);
        }
        assert!(!overlay.scan_after(store, table, Some("never"), &mut |_, _| true).unwrap());
        for key in 0..12 {
            let key = format!("k{key}");
            let mut value = None;
            let found = overlay.get(store, table, &key, &mut |bytes| value = Some(bytes.to_vec())).unwrap();
            assert_eq!(found, value.is_some());
            assert_eq!(value.as_ref(), expected.get(&key));
        }
        assert_eq!(overlay.size(store, table).unwrap(), expected.len() as u64);
    }
}

proptest! {
    #[test]
    fn a_run_sees_its_own_writes(ops in ops(), often in any::<bool>(), fresh in 1u32..6) {
        let mut store = MemoryStore::new();
        let mut overlay = Overlay::new();
        // From the highest table that is in the store on, tables are new.
        let mut committed = Model::new();
        let mut now = Model::new();
        let mut removed = false;
        overlay.begin(fresh);
        for op in ops {
            match op {
                // A table is removed at the end of a run: nothing writes to it any more.
                Op::Set(..) | Op::Delete(..) if removed => continue,
                Op::Set(table, key, value) => {
                    overlay.put(table, &format!("k{key}"), Some(&[value]));
                    now.entry(table).or_default().insert(format!("k{key}"), vec![value]);
                }
                Op::Delete(table, key) => {
                    overlay.put(table, &format!("k{key}"), None);
                    now.entry(table).or_default().remove(&format!("k{key}"));
                }
                Op::Size(table) => {
                    let expected = now.get(&table).map_or(0, BTreeMap::len) as u64;
                    prop_assert_eq!(overlay.size(&mut store, table).unwrap(), expected);
                }
                Op::RemoveTable(table) => {
                    overlay.remove_table(table);
                    now.remove(&table);
                    removed = true;
                }
                Op::Commit => {
                    store.commit(&mut Batch(&mut overlay)).unwrap();
                    overlay.clear();
                    committed = now.clone();
                    overlay.begin(committed.keys().max().map_or(fresh, |t| fresh.max(t + 1)));
                    removed = false;
                }
                Op::Rollback => {
                    overlay.clear();
                    now = committed.clone();
                    removed = false;
                }
            }
            if often {
                check(&mut overlay, &mut store, &now, true);
            }
        }
        check(&mut overlay, &mut store, &now, false);
        // What the batch says is what the store becomes.
        let writes: Vec<String> = overlay.writes().map(|w| format!("{w:?}")).collect();
        let mut one_by_one = committed.clone();
        for write in overlay.writes() {
            match write {
                Write::Set { table, key, value } => {
                    one_by_one.entry(table).or_default().insert(key.to_owned(), value.to_vec());
                }
                Write::Delete { table, key } => {
                    one_by_one.entry(table).or_default().remove(key);
                }
                Write::RemoveTable { table } => drop(one_by_one.remove(&table)),
            }
        }
        one_by_one.retain(|_, entries| !entries.is_empty());
        now.retain(|_, entries| !entries.is_empty());
        prop_assert_eq!(one_by_one, now, "{:?}", writes);
    }
}
