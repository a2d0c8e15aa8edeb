//! One byte of a large file is not what it was: whatever is read then is what was written, or an error. Nothing is left
//! out in silence, and what is whole can be read.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;

use luacell::{FileStore, Sandbox, SandboxConfig, TableStore};

type Tables = BTreeMap<u32, BTreeMap<String, Vec<u8>>>;

/// One table with many entries, many small ones, and long values: leaves and branches of all kinds. In several commits,
/// so that pages lie in no order.
const FILL: &str = "
    local part = ...
    for i = part, 12000, 3 do _home['key ' .. i] = ('value ' .. i):rep(25 + i % 9) end
    _home['tables ' .. part] = {}
    for i = 1, 500 do _home['tables ' .. part][i] = {i, {i, 'some text', i % 5 == 0 and {} or i}} end
    for i = 1, 12 do _home['long ' .. i .. part] = ('x'):rep(30000 + i) end";

fn fill(path: &Path) {
    let sandbox = Sandbox::with_config(SandboxConfig::new().store(path)).unwrap();
    for part in 1..=3 {
        sandbox.compute_with(FILL, luacell::ComputeOptions::new().args((part,))).unwrap();
    }
    drop(sandbox);
    // Without pages that nothing leads to, where a change does not matter.
    redb::Database::open(path).unwrap().compact().unwrap();
}

fn read_all(path: &Path) -> Tables {
    let mut store = FileStore::open(path).unwrap();
    let mut tables = Tables::new();
    store.tables(&mut |id| drop(tables.insert(id, BTreeMap::new()))).unwrap();
    for (id, entries) in &mut tables {
        store.scan(*id, &mut |key, value| drop(entries.insert(key.to_owned(), value.to_vec()))).unwrap();
    }
    tables
}

/// What was read of a changed file.
#[derive(Default)]
struct Reads {
    wrong: Vec<String>,
    refused: u64,
    right: u64,
}

impl Reads {
    fn add<T: PartialEq>(&mut self, read: luacell::StoreResult<T>, expected: &T, what: impl FnOnce() -> String) {
        match read {
            Ok(value) if value == *expected => self.right += 1,
            Ok(_) => self.wrong.push(what()),
            Err(_) => self.refused += 1,
        }
    }
}

fn get(store: &mut FileStore, table: u32, key: &str) -> luacell::StoreResult<Option<Vec<u8>>> {
    let mut found = None;
    store.get(table, key, &mut |value| found = Some(value.to_vec()))?;
    Ok(found)
}

/// Reads a file in all ways.
fn look(path: &Path, tables: &Tables, step: usize, offset: usize) -> Reads {
    let mut reads = Reads::default();
    let Ok(mut store) = FileStore::open(path) else {
        reads.refused += 1;
        return reads;
    };
    let mut count = offset;
    for (id, entries) in tables {
        if entries.len() < 100 && !count.is_multiple_of(11) {
            count += 1;
            continue;
        }
        store.begin().unwrap();
        reads.add(store.size(*id), &(entries.len() as u64), || format!("size of {id}"));
        let mut all = BTreeMap::new();
        let mut twice = false;
        let scanned = store.scan(*id, &mut |key, value| twice |= all.insert(key.to_owned(), value.to_vec()).is_some());
        reads.add(scanned.map(|()| (all, twice)), &(entries.clone(), false), || format!("scan of {id}"));
        for (key, value) in entries {
            count += 1;
            if !count.is_multiple_of(step) && entries.len() > 100 {
                continue;
            }
            reads.add(get(&mut store, *id, key), &Some(value.clone()), || format!("get of {id} {key}"));
            for absent in [format!("{key}\u{1}"), format!("{key}~"), format!("\u{1}{key}")] {
                reads.add(get(&mut store, *id, &absent), &None, || format!("get of {id} {absent}, which is not there"));
            }
            // A portion from the middle.
            let mut left = 5;
            let mut portion = Vec::new();
            let walked = store.scan_after(*id, Some(key), &mut |key, value| {
                portion.push((key.to_owned(), value.to_vec()));
                left -= 1;
                left > 0
            });
            let after = (std::ops::Bound::Excluded(key.clone()), std::ops::Bound::Unbounded);
            let expected: Vec<_> = entries.range(after).take(5).map(|(k, v)| (k.clone(), v.clone())).collect();
            reads.add(walked.map(|()| portion), &expected, || format!("portion of {id} after {key}"));
        }
    }
    reads
}

/// With `LUACELL_DAMAGE=2000` as in the experiment that this comes from.
#[test]
fn no_changed_byte_goes_unnoticed() {
    // What a damaged file makes redb say of itself is no failure.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.location().is_some_and(|location| location.file().ends_with("file_damage.rs")) {
            report(info);
        }
    }));
    let rounds: usize = std::env::var("LUACELL_DAMAGE").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.luacell");
    fill(&good);
    let bytes = std::fs::read(&good).unwrap();
    assert!(bytes.len() > 5 << 20, "{} bytes", bytes.len());
    let tables = read_all(&good);
    assert!(look(&good, &tables, 97, 0).refused == 0);
    let branches: Vec<usize> = (4096..bytes.len()).step_by(4096).filter(|at| bytes[*at] == 2).collect();
    assert!(!branches.is_empty());
    let mut random = fastrand::Rng::with_seed(71);
    let path = folder.path().join("changed.luacell");
    let (mut wrong, mut refused, mut right, mut hit) = (Vec::new(), 0, 0, 0);
    for round in 0..rounds {
        let at = match round % 3 {
            0 => random.usize(..bytes.len()),
            // Where pages say what is in them.
            1 => random.usize(..bytes.len() / 4096) * 4096 + random.usize(..300),
            // In a page that leads to others.
            _ => branches[random.usize(..branches.len())] + random.usize(..4096),
        };
        let mut changed = bytes.clone();
        changed[at] ^= random.u8(1..);
        std::fs::write(&path, &changed).unwrap();
        let reads = look(&path, &tables, 211, random.usize(..211));
        wrong.extend(reads.wrong.into_iter().map(|what| format!("byte {at}: {what}")));
        hit += usize::from(reads.refused > 0);
        refused += reads.refused;
        right += reads.right;
    }
    println!("{rounds} changes, {hit} of them were met: {right} reads right, {refused} refused");
    assert!(wrong.is_empty(), "{} wrong: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
    assert!(hit > rounds / 20, "{hit} of {rounds} changes were met");
    // One damaged entry is no reason to refuse the others.
    assert!(right > 20 * refused, "{right} right, {refused} refused");
}
