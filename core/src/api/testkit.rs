//! Checks for your own [`TableStore`]; feature `testkit`.
//!
//! ```
//! # fn main() -> Result<(), luacell::testkit::Broken> {
//! luacell::testkit::laws(|| luacell::StoreResult::Ok(luacell::MemoryStore::new()))?;
//! # Ok(())
//! # }
//! ```
//!
//! [`laws`] is for every store, [`kept`] for one that outlives the process, [`shared`] for one that several sandboxes
//! use at a time. The stores that come with luacell pass them too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::api::{Sandbox, SandboxConfig};
use crate::store::{Batch, StoreError, StoreResult, TableStore, WriteList};
use crate::util::SmallBytes;
use crate::value::ErrorKind;

/// Which law a store breaks, and how it showed.
pub struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Broken(format!("the store failed: {error}"))
    }
}

impl From<crate::value::Error> for Broken {
    fn from(error: crate::value::Error) -> Self {
        Broken(format!("a sandbox failed: {error}"))
    }
}

type Checked = Result<(), Broken>;

fn check(holds: bool, law: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Broken(law())) }
}

type Model = BTreeMap<u32, BTreeMap<String, Vec<u8>>>;

/// What a store says that it holds.
fn content(store: &mut dyn TableStore, table: u32) -> StoreResult<Vec<(String, Vec<u8>)>> {
    let mut entries = Vec::new();
    store.scan(table, &mut |key, value| entries.push((key.to_owned(), value.to_vec())))?;
    Ok(entries)
}

/// Whether all ways to read a table agree with the model.
fn compare(store: &mut dyn TableStore, model: &Model, tables: impl IntoIterator<Item = u32>) -> Checked {
    let none = BTreeMap::new();
    for table in tables {
        let expected = model.get(&table).unwrap_or(&none);
        let size = store.size(table)?;
        check(size == expected.len() as u64, || {
            format!("size: table {table} has {} entries, the store says {size}", expected.len())
        })?;
        let mut keys = Vec::new();
        store.keys(table, &mut |key| keys.push(key.to_owned()))?;
        let distinct: BTreeSet<&String> = keys.iter().collect();
        check(distinct.len() == keys.len(), || format!("keys: a key of table {table} came twice"))?;
        check(distinct.into_iter().eq(expected.keys()), || {
            format!("keys: table {table} has {:?}, the store gives {keys:?}", expected.keys())
        })?;
        let entries = content(store, table)?;
        check(entries.iter().map(|(key, _)| key).eq(&keys), || {
            format!("scan: table {table} comes in another order than from keys")
        })?;
        for (key, value) in &entries {
            check(expected.get(key) == Some(value), || format!("scan: table {table} has another value under {key:?}"))?;
        }
        for (key, value) in expected {
            let mut read = Vec::new();
            let mut calls = 0;
            let found = store.get(table, key, &mut |bytes| {
                calls += 1;
                read = bytes.to_vec();
            })?;
            check(found && calls == 1 && read == *value, || {
                format!("get: {key:?} of table {table} does not come back byte for byte, once")
            })?;
            check(store.contains(table, key)?, || format!("contains: {key:?} of table {table} is there"))?;
        }
        check(!store.get(table, "no such key", &mut |_| {})?, || "get: what is not there is not there".to_owned())?;
        check(!store.contains(table, "no such key")?, || "contains: what is not there is not there".to_owned())?;
        // In portions.
        for portion in [1, 3, keys.len().max(1)] {
            let mut again: Vec<String> = Vec::new();
            loop {
                let before = again.len();
                let after = again.last().cloned();
                store.keys_after(table, after.as_deref(), portion, &mut |key| again.push(key.to_owned()))?;
                check(again.len() <= before + portion, || "keys_after: more than `limit` keys came".to_owned())?;
                if again.len() == before {
                    break;
                }
            }
            check(again == keys, || format!("keys_after: portions of {portion} are not what keys gives"))?;
        }
    }
    let mut listed = BTreeSet::new();
    let can_list = store.tables(&mut |table| {
        listed.insert(table);
    })?;
    if can_list {
        for (table, entries) in model {
            check(entries.is_empty() || listed.contains(table), || format!("tables: table {table} is missing"))?;
        }
    }
    Ok(())
}

/// Numbers that are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Keys and values that a careless store confuses.
fn odd() -> Vec<(String, Vec<u8>)> {
    let keys = [
        "",
        "1",
        "01",
        "-1",
        "1.5",
        "a",
        "A",
        "a ",
        " a",
        "é",
        "e\u{301}",
        "\u{feff}x",
        "\0",
        "a\0b",
        "\\s",
        "'",
        "\"",
        "%",
        "*",
        "?",
        "[",
        "{}",
        "next",
        "undo",
        "count",
        "a\nb",
        "\u{10ffff}",
        "日本語",
        "a:b",
        "a/b",
        "../x",
        "NULL",
    ];
    let mut all: Vec<(String, Vec<u8>)> =
        keys.iter().enumerate().map(|(i, key)| ((*key).to_owned(), vec![i as u8; i])).collect();
    all.push(("k".repeat(1000), b"long key".to_vec()));
    all.push(("every byte".to_owned(), (0..=255).collect()));
    all
}

fn batch(removed: &[u32], writes: &[(u32, &str, Option<&[u8]>)]) -> WriteList {
    let entry = |(table, key, value): &(u32, &str, Option<&[u8]>)| {
        (*table, SmallBytes::new(key.as_bytes()), value.map(SmallBytes::new))
    };
    WriteList { removed: removed.to_vec(), entries: writes.iter().map(entry).collect() }
}

fn commit(store: &mut dyn TableStore, list: &WriteList) -> StoreResult<()> {
    store.commit(&mut Batch(&mut list.clone()))
}

/// The laws that every store obeys. `new` makes an empty store each time.
///
/// # Errors
/// The law that is broken.
pub fn laws<S: TableStore + 'static, E: Into<StoreError>>(mut new: impl FnMut() -> Result<S, E>) -> Checked {
    let mut new = || new().map_err(Into::into);
    single_writes(&mut new()?)?;
    batches(&mut new()?)?;
    random(&mut new()?)?;
    in_a_sandbox(new()?)
}

fn single_writes(store: &mut dyn TableStore) -> Checked {
    let mut model = Model::new();
    compare(store, &model, [1, 2, 3, 4_294_967_294])?;
    store.delete(7, "x")?;
    store.remove_table(7)?;
    compare(store, &model, [7])?;
    for table in [1, 4_294_967_294, 10] {
        for (key, value) in odd() {
            store.set(table, &key, &value)?;
            model.entry(table).or_default().insert(key, value);
        }
    }
    compare(store, &model, [1, 2, 10, 4_294_967_294])?;
    let large = vec![0xA5; 5 << 20];
    store.set(2, "large", &large)?;
    store.set(2, "small", b"x")?;
    model.entry(2).or_default().extend([("large".to_owned(), large), ("small".to_owned(), b"x".to_vec())]);
    compare(store, &model, [2])?;
    // Overwriting, longer and shorter, and deleting.
    for (table, key, value) in
        [(1, "a", Some(&b"changed"[..])), (1, "every byte", Some(b"")), (1, "1", None), (2, "large", None)]
    {
        let entries = model.entry(table).or_default();
        match value {
            Some(value) => {
                store.set(table, key, value)?;
                entries.insert(key.to_owned(), value.to_vec());
            }
            None => {
                store.delete(table, key)?;
                entries.remove(key);
            }
        }
    }
    compare(store, &model, [1, 2, 10])?;
    store.remove_table(10)?;
    model.remove(&10);
    compare(store, &model, [1, 2, 10, 4_294_967_294])
}

fn batches(store: &mut dyn TableStore) -> Checked {
    let mut model = Model::new();
    store.begin()?;
    commit(store, &batch(&[], &[(1, "a", Some(b"1")), (1, "b", Some(b"2")), (3, "x", Some(b"")), (1, "none", None)]))?;
    model.entry(1).or_default().extend([("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
    model.entry(3).or_default().insert("x".to_owned(), Vec::new());
    compare(store, &model, [1, 3])?;
    store.begin()?;
    store.prefetch(&[(1, "a"), (1, "none"), (9, "x")])?;
    store.get(1, "a", &mut |_| {})?;
    commit(store, &batch(&[3, 8], &[(1, "a", None), (1, "b", Some(b"3")), (4, "new", Some(b"4"))]))?;
    model.remove(&3);
    model.insert(1, BTreeMap::from([("b".to_owned(), b"3".to_vec())]));
    model.insert(4, BTreeMap::from([("new".to_owned(), b"4".to_vec())]));
    compare(store, &model, [1, 3, 4, 8])?;
    store.begin()?;
    store.get(1, "b", &mut |_| {})?;
    store.rollback();
    store.begin()?;
    store.get(1, "b", &mut |_| {})?;
    commit(store, &WriteList::default())?;
    compare(store, &model, [1, 3, 4])?;
    let many: Vec<String> = (0..5000).map(|i| format!("key {i}")).collect();
    let writes: Vec<(u32, &str, Option<&[u8]>)> =
        many.iter().map(|key| (5, key.as_str(), Some(key.as_bytes()))).collect();
    store.begin()?;
    commit(store, &batch(&[], &writes))?;
    model.insert(5, many.iter().map(|key| (key.clone(), key.clone().into_bytes())).collect());
    compare(store, &model, [4, 5])
}

fn random(store: &mut dyn TableStore) -> Checked {
    let mut random = Random(7);
    let mut model = Model::new();
    for round in 0..60 {
        let mut list = WriteList::default();
        let mut now = model.clone();
        if random.below(8) == 0 {
            let table = 1 + random.below(4) as u32;
            list.removed.push(table);
            now.remove(&table);
        }
        let mut written = BTreeSet::new();
        for _ in 0..random.below(12) {
            let (table, key) = (1 + random.below(4) as u32, format!("k{}", random.below(20)));
            if list.removed.contains(&table) || !written.insert((table, key.clone())) {
                continue;
            }
            let value = (random.below(3) > 0).then(|| vec![round as u8; random.below(60) as usize]);
            let entries = now.entry(table).or_default();
            match &value {
                Some(value) => drop(entries.insert(key.clone(), value.clone())),
                None => drop(entries.remove(&key)),
            }
            list.entries.push((table, SmallBytes::new(key.as_bytes()), value.map(|value| SmallBytes::new(&value))));
        }
        store.begin()?;
        if random.below(4) == 0 {
            // A run that fails.
            store.rollback();
        } else {
            commit(store, &list)?;
            model = now;
        }
        compare(store, &model, 1..5)?;
    }
    Ok(())
}

fn in_a_sandbox(store: impl TableStore + 'static) -> Checked {
    let sandbox = Sandbox::with_config(SandboxConfig::new().store(store))?;
    let truth = |source: &str| -> Checked {
        check(sandbox.compute(source)?.get::<bool>()?, || format!("in a sandbox this is not true: {source}"))
    };
    sandbox.compute("_home.a = {b = {1, 2, 3}} for i = 1, 100 do _home[i] = i * i end")?;
    truth("return #_home.a.b == 3 and _home[100] == 10000")?;
    check(sandbox.compute("_home.lost = 1 _home.a.b = nil error('no')").is_err(), || {
        "an error is an error".to_owned()
    })?;
    truth("return _home.lost == nil and _home.a.b[3] == 3")?;
    truth("local n = 0 for k, v in pairs(_home) do n = n + 1 end return n == 101")?;
    sandbox.compute("for k in pairs(_home) do _home[k] = nil end _home.self = {} _home.self.self = _home.self")?;
    truth("return _home.self.self == _home.self and _home[100] == nil")?;
    check(sandbox.home().len()? == 1, || "the host sees another size than Lua".to_owned())
}

/// For a store that outlives the process: what was committed is there when it is opened again. `open` opens the same
/// store each time, which is empty at first; the last one is gone before.
///
/// # Errors
/// The law that is broken.
pub fn kept<S: TableStore + 'static, E: Into<StoreError>>(mut open: impl FnMut() -> Result<S, E>) -> Checked {
    let mut open = || open().map_err(Into::into);
    let mut model = Model::new();
    for round in 0..4u8 {
        let mut store = open()?;
        store.begin()?;
        compare(&mut store, &model, 1..6)?;
        let list = batch(&[], &[(1, "round", Some(&[round])), (2 + u32::from(round), "x", Some(b"y"))]);
        commit(&mut store, &list)?;
        model.entry(1).or_default().insert("round".to_owned(), vec![round]);
        model.entry(2 + u32::from(round)).or_default().insert("x".to_owned(), b"y".to_vec());
    }
    for round in 0..3i64 {
        let sandbox = Sandbox::with_config(SandboxConfig::new().store(open()?))?;
        let n =
            sandbox.compute("_home.n = (_home.n or 0) + 1 _home[_home.n] = {_home.n} return _home.n")?.get::<i64>()?;
        check(n == round + 1, || "what a sandbox kept is not there for the next one".to_owned())?;
        let sum = "local s = 0 for i = 1, _home.n do s = s + _home[i][1] end return s";
        let sum = sandbox.compute(sum)?.get::<i64>()?;
        check(sum == n * (n + 1) / 2, || "a new table got the number of an old one".to_owned())?;
    }
    Ok(())
}

/// For a store that several sandboxes use at the same time: nothing is lost between them. `open` opens the same store
/// each time, which is empty at first.
///
/// # Errors
/// The law that is broken.
pub fn shared<S: TableStore + 'static, E: Into<StoreError>>(mut open: impl FnMut() -> Result<S, E>) -> Checked {
    let mut open = || open().map_err(Into::into);
    let (mut a, mut b) = (open()?, open()?);
    check(a.is_shared() && b.is_shared(), || "is_shared: there are two users".to_owned())?;
    let conflicts = |result: StoreResult<()>| matches!(result, Err(error) if error.is_conflict());
    // What was read is what is there at the commit, or it is a conflict.
    type Look = fn(&mut dyn TableStore) -> StoreResult<()>;
    let looks: [(&str, Look); 7] = [
        ("get", |store| store.get(1, "x", &mut |_| {}).map(drop)),
        ("contains", |store| store.contains(1, "x").map(drop)),
        ("size", |store| store.size(1).map(drop)),
        ("keys", |store| store.keys(1, &mut |_| {})),
        ("scan", |store| store.scan(1, &mut |_, _| {})),
        ("keys_after", |store| store.keys_after(1, None, 2, &mut |_| {})),
        ("prefetch and get", |store| {
            store.prefetch(&[(1, "x"), (1, "other")])?;
            store.get(1, "x", &mut |_| {}).map(drop)
        }),
    ];
    for (name, look) in looks {
        for (start, change) in [(None, Some(&b"new"[..])), (Some(&b"old"[..]), None)] {
            a.begin()?;
            commit(&mut a, &batch(&[], &[(1, "x", start), (1, "other", Some(b"o")), (2, "mine", None)]))?;
            b.begin()?;
            look(&mut b)?;
            a.begin()?;
            commit(&mut a, &batch(&[], &[(1, "x", change)]))?;
            let result = commit(&mut b, &batch(&[], &[(2, "mine", Some(b"written"))]));
            check(conflicts(result), || {
                format!("commit: what `{name}` had read was changed, and that was no conflict")
            })?;
            b.begin()?;
            check(!b.contains(2, "mine")?, || "commit: something was written in spite of a conflict".to_owned())?;
            b.rollback();
            // The second try succeeds.
            b.begin()?;
            look(&mut b)?;
            commit(&mut b, &batch(&[], &[(2, "mine", Some(b"written"))]))?;
        }
    }
    // What was not read does not matter.
    a.begin()?;
    a.get(1, "x", &mut |_| {})?;
    b.begin()?;
    commit(&mut b, &batch(&[], &[(1, "unrelated", Some(b"b"))]))?;
    commit(&mut a, &batch(&[], &[(3, "y", Some(b"a"))]))?;
    // Removing a table changes what was in it.
    a.begin()?;
    a.get(3, "y", &mut |_| {})?;
    b.begin()?;
    commit(&mut b, &batch(&[3], &[]))?;
    check(conflicts(commit(&mut a, &batch(&[], &[(1, "z", Some(b"a"))]))), || {
        "commit: the table of what was read was removed, and that was no conflict".to_owned()
    })?;
    a.begin()?;
    commit(&mut a, &batch(&[1, 2, 3], &[]))?;
    // Numbers.
    let mut taken = BTreeSet::new();
    for round in 0..50 {
        let store = if round % 2 == 0 { &mut a } else { &mut b };
        let first =
            store.reserve_ids(3)?.ok_or_else(|| Broken("reserve_ids: a shared store gives numbers".to_owned()))?;
        for id in first..first + 3 {
            check(id > 2 && taken.insert(id), || format!("reserve_ids: {id} was given twice, or is taken"))?;
        }
    }
    drop((a, b));
    sandboxes(&mut open)
}

fn sandboxes<S: TableStore + 'static>(open: &mut dyn FnMut() -> StoreResult<S>) -> Checked {
    const THREADS: i64 = 4;
    const TIMES: i64 = 50;
    let mut all = Vec::new();
    for _ in 0..THREADS {
        all.push(Sandbox::with_config(SandboxConfig::new().store(open()?).conflict_retries(10_000))?);
    }
    let results: Vec<Result<(), crate::value::Error>> = std::thread::scope(|scope| {
        let work = |sandbox: &Sandbox, thread: i64| {
            for i in 0..TIMES {
                sandbox.set_input(thread)?;
                let source = format!(
                    "_home.n = (_home.n or 0) + 1
                    _home.list = _home.list or {{}}
                    _home.list[#_home.list + 1] = {{thread = _io.input, nested = {{{i}}}}}"
                );
                sandbox.compute(source)?;
            }
            Ok(())
        };
        let threads: Vec<_> =
            all.iter().zip(0..).map(|(sandbox, thread)| scope.spawn(move || work(sandbox, thread))).collect();
        let gone = || crate::value::Error::new(ErrorKind::Internal, "a thread panicked");
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(gone()))).collect()
    });
    for result in results {
        result?;
    }
    for sandbox in &all {
        let sums = "local sums, n = {}, 0
            for _, entry in ipairs(_home.list) do
                sums[entry.thread] = (sums[entry.thread] or 0) + entry.nested[1] n = n + 1
            end
            return _home.n, n, sums[0], sums[3]";
        let sums = sandbox.compute(sums)?.values;
        let one = TIMES * (TIMES - 1) / 2;
        check(sums == [THREADS * TIMES, THREADS * TIMES, one, one].map(crate::value::Value::from), || {
            format!("sandboxes that share the store lost something: {sums:?}")
        })?;
    }
    Ok(())
}
