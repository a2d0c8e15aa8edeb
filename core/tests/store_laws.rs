//! Every store obeys the laws of the test kit; stores that break one are found out.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

#[macro_use]
mod forward;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use luacell::{Batch, Durability, FileStore, MemoryStore, StoreResult, TableStore, testkit};

#[test]
fn memory() {
    testkit::laws(|| StoreResult::Ok(MemoryStore::new())).unwrap();
}

#[test]
fn file() {
    let folder = tempfile::tempdir().unwrap();
    let number = Cell::new(0);
    for durability in [Durability::Full, Durability::Relaxed] {
        let path = || folder.path().join(format!("{}.luacell", number.get()));
        let open = || FileStore::options().durability(durability).open(path());
        testkit::laws(|| {
            number.set(number.get() + 1);
            open()
        })
        .unwrap();
        number.set(number.get() + 1);
        testkit::kept(open).unwrap();
        number.set(number.get() + 1);
        testkit::shared(open).unwrap();
    }
}

/// The smallest store there can be.
#[derive(Clone, Default)]
struct Five(Arc<Mutex<Entries>>, Fault);

type Entries = BTreeMap<(u32, String), Vec<u8>>;

/// What is wrong with it.
#[derive(Clone, Copy, Default, PartialEq)]
enum Fault {
    #[default]
    Nothing,
    Trims,
    EmptyIsGone,
    SizeLags,
    KeysTwice,
    LosesWrites,
}

impl TableStore for Five {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        let key = if self.1 == Fault::Trims { key.trim() } else { key };
        let found = self.0.lock().unwrap().get(&(table, key.to_owned())).cloned();
        let found = found.filter(|value| self.1 != Fault::EmptyIsGone || !value.is_empty());
        if let Some(value) = &found {
            read(value);
        }
        Ok(found.is_some())
    }
    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        let key = if self.1 == Fault::Trims { key.trim() } else { key };
        if self.1 == Fault::LosesWrites && key == "key 4321" {
            return Ok(());
        }
        self.0.lock().unwrap().insert((table, key.to_owned()), value.to_vec());
        Ok(())
    }
    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.0.lock().unwrap().remove(&(table, key.to_owned()));
        Ok(())
    }
    fn size(&mut self, table: u32) -> StoreResult<u64> {
        let n = self.0.lock().unwrap().keys().filter(|(t, _)| *t == table).count() as u64;
        Ok(if self.1 == Fault::SizeLags { n.saturating_sub(1) } else { n })
    }
    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        let keys: Vec<String> =
            self.0.lock().unwrap().keys().filter(|(t, _)| *t == table).map(|(_, k)| k.clone()).collect();
        keys.iter().for_each(|key| visit(key));
        if self.1 == Fault::KeysTwice {
            keys.first().into_iter().for_each(|key| visit(key));
        }
        Ok(())
    }
}

#[test]
fn five_functions() {
    testkit::laws(|| StoreResult::Ok(Five::default())).unwrap();
    let store = Five::default();
    testkit::kept(|| StoreResult::Ok(store.clone())).unwrap();
}

#[test]
fn faults_are_found() {
    for (fault, law) in [
        (Fault::Trims, "size"),
        (Fault::EmptyIsGone, "scan"),
        (Fault::SizeLags, "size"),
        (Fault::KeysTwice, "keys"),
        (Fault::LosesWrites, "size"),
    ] {
        let error = testkit::laws(|| StoreResult::Ok(Five(Arc::default(), fault))).unwrap_err();
        assert!(error.to_string().starts_with(law), "{error}");
    }
    let error = testkit::kept(|| StoreResult::Ok(MemoryStore::new())).unwrap_err();
    assert!(error.to_string().contains("size"), "{error}");
    let store = Five::default();
    let error = testkit::shared(|| StoreResult::Ok(store.clone())).unwrap_err();
    assert!(error.to_string().contains("is_shared"), "{error}");
    let error = testkit::shared(|| StoreResult::Ok(Careless(store.clone()))).unwrap_err();
    assert!(error.to_string().contains("no conflict"), "{error}");
}

/// Says that it may be shared, and does nothing for it.
struct Careless(Five);

impl TableStore for Careless {
    pass_on!(get set delete size keys);
    fn commit(&mut self, batch: &mut Batch<'_>) -> StoreResult<()> {
        batch.apply_to(self)
    }
    fn is_shared(&self) -> bool {
        true
    }
}
