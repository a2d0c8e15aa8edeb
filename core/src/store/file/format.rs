//! What is in the file.
//!
//! One redb table, `luacell`, maps text to numbers and says that the file is ours and in which format. Another one,
//! `entries`, holds everything else. Its keys begin with the table's number, big-endian, so that the entries of a table
//! are next to each other. Then comes a 0 for the number of entries (u64, little-endian; absent if there are none), or
//! a 1 and the key for an entry. Table 0 does not exist: its number of entries is replaced by what all tables except
//! the library's own hold, bytes and entries (u64 both). That entry is always there, and is the first one.
//!
//! redb only checks its own checksums after a crash. So each value is followed by two of ours (u32, little-endian): the
//! CRC-32 of key and value; and the link to what follows, which is the CRC-32 of this key, the byte 255 and the next
//! key in the file, or nothing for the last one. What is read has to match the first. If nothing is found, or a walk
//! goes on, the links on both sides have to match: damage can't hide an entry.

use std::fmt;

use ahash::HashMap;
use redb::{AccessGuard, Range, ReadOnlyTable, ReadableTable, Table, TableDefinition};

use crate::store::reserved::is_own;
use crate::store::{CancelToken, StoreError, StoreResult, Usage, Write};

pub(super) const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("luacell");
pub(super) const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");

/// [`ENTRIES`] for reading and for writing.
pub(super) type Entries = ReadOnlyTable<&'static [u8], &'static [u8]>;
pub(super) type EntriesMut<'a> = Table<'a, &'static [u8], &'static [u8]>;

/// The key in [`ABOUT`] and the format that this version reads and writes.
pub(super) const FORMAT_KEY: &str = "format";
pub(super) const FORMAT: u64 = 3;

const COUNT: u8 = 0;
const ENTRY: u8 = 1;
/// Causes all of a table.
const END: u8 = 2;

/// What redb begins each file with.
pub(super) const MAGIC: &[u8; 9] = b"redb\x1a\x0a\xa9\x0d\x0a";

/// Room for short keys without an allocation.
const SHORT: usize = 64;

/// A key as it is in the file.
pub(super) enum Key {
    Short(usize, [u8; SHORT]),
    Long(Vec<u8>),
}

impl Key {
    fn new(table: u32, kind: u8, key: &[u8]) -> Self {
        let len = 5 + key.len();
        let [a, b, c, d] = table.to_be_bytes();
        let head = [a, b, c, d, kind];
        let mut short = [0; SHORT];
        if let Some((first, rest)) = short.get_mut(..len).and_then(|room| room.split_at_mut_checked(5)) {
            first.copy_from_slice(&head);
            rest.copy_from_slice(key);
            return Key::Short(len, short);
        }
        let mut long = Vec::with_capacity(len + 1);
        long.extend_from_slice(&head);
        long.extend_from_slice(key);
        Key::Long(long)
    }

    pub(super) fn entry(table: u32, key: &str) -> Self {
        Key::new(table, ENTRY, key.as_bytes())
    }

    pub(super) fn count(table: u32) -> Self {
        Key::new(table, COUNT, &[])
    }

    pub(super) fn end(table: u32) -> Self {
        Key::new(table, END, &[])
    }

    /// The least key that is greater.
    pub(super) fn successor(&self) -> Self {
        let mut next = self.as_slice().to_vec();
        next.push(0);
        Key::Long(next)
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Key::Short(len, bytes) => bytes.get(..*len).unwrap_or_default(),
            Key::Long(bytes) => bytes,
        }
    }
}

/// The key within its table.
pub(super) fn entry_key(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(5..)?).ok()
}

/// Somebody else has changed what is under this key.
pub(super) fn changed(key: &[u8]) -> StoreError {
    let is_entry = key.get(4) == Some(&ENTRY);
    StoreError::changed(table_of(key).unwrap_or_default(), entry_key(key).filter(|_| is_entry))
}

pub(super) fn table_of(key: &[u8]) -> Option<u32> {
    key.first_chunk().map(|number| u32::from_be_bytes(*number))
}

/// An entry, or what should be one, is not what was written.
#[derive(Debug)]
pub(super) struct Damage(String);

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damaged: {}", self.0)
    }
}

impl std::error::Error for Damage {}

fn damaged(key: &[u8], what: &str) -> StoreError {
    let table = table_of(key).unwrap_or_default();
    match entry_key(key) {
        Some(shown) => Damage(format!("an entry of table {table}, '{}', {what}", shown.escape_debug())).into(),
        None => Damage(format!("an entry of table {table} {what}")).into(),
    }
}

const CHECKSUM: usize = 4;
/// What follows each value: its checksum and the link.
const TAIL: usize = 2 * CHECKSUM;

fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(value);
    crc.finalize().to_le_bytes()
}

/// From a key to the next; that is empty when there is none.
fn link(key: &[u8], next: &[u8]) -> [u8; CHECKSUM] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(&[0xFF]);
    crc.update(next);
    crc.finalize().to_le_bytes()
}

/// The value in what the file holds under a key.
pub(super) fn value_of<'a>(key: &[u8], stored: &'a [u8]) -> StoreResult<&'a [u8]> {
    let found = stored.split_last_chunk::<TAIL>().and_then(|(value, tail)| Some((value, tail.first_chunk()?)));
    match found {
        Some((value, sum)) if *sum == checksum(key, value) => Ok(value),
        _ => Err(damaged(key, "does not match its checksum")),
    }
}

/// A link, if there is one.
type Tail = Option<[u8; CHECKSUM]>;

/// The link in what the file holds.
fn tail_of(stored: &[u8]) -> Tail {
    stored.last_chunk().copied()
}

/// Fails when `next` is not what followed `key` when its link was written.
fn check_tail(key: &[u8], tail: Tail, next: &[u8]) -> StoreResult<()> {
    if tail == Some(link(key, next)) {
        return Ok(());
    }
    Err(damaged(key, "is not followed by what should follow it"))
}

fn check_link(key: &[u8], stored: &[u8], next: &[u8]) -> StoreResult<()> {
    check_tail(key, tail_of(stored), next)
}

/// How long the value is in what the file holds.
fn value_len(stored: &[u8]) -> usize {
    stored.len().saturating_sub(TAIL)
}

type Bytes<'a> = AccessGuard<'a, &'static [u8]>;

/// The entry before a key and the key of the entry after it, between which there is nothing else.
fn neighbours<'a>(
    entries: &'a impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> StoreResult<(Bytes<'a>, Bytes<'a>, Option<Bytes<'a>>)> {
    let before = entries.range::<&[u8]>(..key)?.next_back().transpose()?;
    let (before, stored) = before.ok_or_else(|| damaged(key, "has nothing before it"))?;
    let after = entries.range::<&[u8]>(key..)?.next().transpose()?.map(|(key, _)| key);
    Ok((before, stored, after))
}

fn key_or_end<'a>(key: &'a Option<Bytes<'_>>) -> &'a [u8] {
    key.as_ref().map_or(&[], |key| key.value())
}

/// What is stored under a key, checked. That there is nothing is checked too.
pub(super) fn find<'a>(
    entries: &'a impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> StoreResult<Option<Found<'a>>> {
    if let Some(stored) = entries.get(key)? {
        value_of(key, stored.value())?;
        return Ok(Some(Found(stored)));
    }
    let (before, stored, after) = neighbours(entries, key)?;
    check_link(before.value(), stored.value(), key_or_end(&after))?;
    Ok(None)
}

/// A value that was checked.
pub(super) struct Found<'a>(Bytes<'a>);

impl Found<'_> {
    pub(super) fn value(&self) -> &[u8] {
        let stored = self.0.value();
        stored.get(..value_len(stored)).unwrap_or_default()
    }
}

/// The way through the entries of a table. Each step sees to it that nothing was left out.
pub(super) struct Walk<'a> {
    range: Range<'a, &'static [u8], &'static [u8]>,
    end: Key,
    /// Where it is.
    key: Bytes<'a>,
    stored: Bytes<'a>,
}

impl<'a> Walk<'a> {
    /// Before the entries that come after a key, or before all of them.
    pub(super) fn new(
        entries: &'a impl ReadableTable<&'static [u8], &'static [u8]>,
        table: u32,
        after: Option<&str>,
    ) -> StoreResult<Self> {
        let start = match after {
            Some(key) => Key::entry(table, key).successor(),
            None => Key::entry(table, ""),
        };
        let (key, stored, _) = neighbours(entries, start.as_slice())?;
        Ok(Walk { range: entries.range::<&[u8]>(start.as_slice()..)?, end: Key::end(table), key, stored })
    }

    /// Goes on to the next entry, if there is one.
    pub(super) fn advance(&mut self) -> StoreResult<bool> {
        let next = self.range.next().transpose()?;
        let key = next.as_ref().map_or(&[][..], |(key, _)| key.value());
        check_link(self.key.value(), self.stored.value(), key)?;
        let Some((key, stored)) = next.filter(|(key, _)| key.value() < self.end.as_slice()) else {
            return Ok(false);
        };
        value_of(key.value(), stored.value())?;
        if entry_key(key.value()).is_none() {
            return Err(damaged(key.value(), "has a key that is not text"));
        }
        (self.key, self.stored) = (key, stored);
        Ok(true)
    }

    pub(super) fn key(&self) -> &str {
        entry_key(self.key.value()).unwrap_or_default()
    }

    pub(super) fn value(&self) -> &[u8] {
        let stored = self.stored.value();
        stored.get(..value_len(stored)).unwrap_or_default()
    }
}

pub(super) fn read_count(bytes: &[u8]) -> StoreResult<u64> {
    let bytes = bytes.try_into().map_err(|_| StoreError::from("the size of a table is malformed"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// What the tables hold.
pub(super) fn usage(entries: &impl ReadableTable<&'static [u8], &'static [u8]>) -> StoreResult<Usage> {
    let key = Key::count(0);
    let noted = find(entries, key.as_slice())?.ok_or_else(|| damaged(key.as_slice(), "is missing"))?;
    let Some((bytes, count)) = noted.value().split_first_chunk() else {
        return Err("the size of all tables is malformed".into());
    };
    Ok(Usage { bytes: u64::from_le_bytes(*bytes), entries: read_count(count)? })
}

fn encode_usage(usage: Usage) -> Vec<u8> {
    [usage.bytes.to_le_bytes(), usage.entries.to_le_bytes()].concat()
}

/// Puts the first entry of all into a new file, unless somebody else has just done so.
pub(super) fn begin(entries: &mut EntriesMut<'_>) -> StoreResult<()> {
    if entries.first()?.is_some() {
        return Ok(());
    }
    let (key, mut room) = (Key::count(0), encode_usage(Usage::default()));
    room.extend_from_slice(&checksum(key.as_slice(), &room));
    room.extend_from_slice(&link(key.as_slice(), &[]));
    entries.insert(key.as_slice(), room.as_slice())?;
    Ok(())
}

/// Writes, and keeps the links right.
struct Chain<'a, 't> {
    entries: &'a mut EntriesMut<'t>,
    room: Vec<u8>,
    pending: Option<Pending>,
}

/// A new entry that waits for the one that follows it: new entries come in order, and most of them one behind the
/// other.
struct Pending {
    key: Vec<u8>,
    /// Value and checksum.
    stored: Vec<u8>,
    /// The key that follows in the file; empty when there is none.
    next: Vec<u8>,
}

impl<'a, 't> Chain<'a, 't> {
    fn new(entries: &'a mut EntriesMut<'t>) -> Self {
        Chain { entries, room: Vec::new(), pending: None }
    }

    /// Writes what waits, before the key `next` or what follows in the file.
    fn flush(&mut self, next: Option<&[u8]>) -> StoreResult<()> {
        if let Some(mut entry) = self.pending.take() {
            let link = link(&entry.key, next.unwrap_or(&entry.next));
            entry.stored.extend_from_slice(&link);
            self.entries.insert(entry.key.as_slice(), entry.stored.as_slice())?;
        }
        Ok(())
    }

    /// Puts a value under a key; how long the one was that was there.
    fn set(&mut self, key: &[u8], value: &[u8]) -> StoreResult<Option<usize>> {
        if let Some(entry) = &mut self.pending
            && entry.key.as_slice() < key
            && (entry.next.is_empty() || key < entry.next.as_slice())
        {
            let next = std::mem::take(&mut entry.next);
            self.flush(Some(key))?;
            self.append(key, value, next);
            return Ok(None);
        }
        self.flush(None)?;
        if let Some(mut there) = self.entries.get_mut(key)? {
            let tail = tail_of(there.value()).ok_or_else(|| damaged(key, "does not match its checksum"))?;
            let len = value_len(there.value());
            self.room.clear();
            self.room.extend_from_slice(value);
            self.room.extend_from_slice(&checksum(key, value));
            self.room.extend_from_slice(&tail);
            there.insert(self.room.as_slice())?;
            return Ok(Some(len));
        }
        let (before, tail, after) = self.around(key)?;
        check_tail(&before, tail, &after)?;
        self.relink(&before, key)?;
        self.append(key, value, after);
        Ok(None)
    }

    fn append(&mut self, key: &[u8], value: &[u8], next: Vec<u8>) {
        let mut stored = Vec::with_capacity(value.len() + TAIL);
        stored.extend_from_slice(value);
        stored.extend_from_slice(&checksum(key, value));
        self.pending = Some(Pending { key: key.to_vec(), stored, next });
    }

    /// The key before one, its link, and the key after it.
    fn around(&self, key: &[u8]) -> StoreResult<(Vec<u8>, Tail, Vec<u8>)> {
        let (before, stored, after) = neighbours(self.entries, key)?;
        Ok((before.value().to_vec(), tail_of(stored.value()), key_or_end(&after).to_vec()))
    }

    /// Makes an entry say that another one follows it.
    fn relink(&mut self, key: &[u8], next: &[u8]) -> StoreResult<()> {
        let Some(mut there) = self.entries.get_mut(key)? else {
            return Err(damaged(key, "is found in one way and not in another"));
        };
        self.room.clear();
        self.room.extend_from_slice(there.value());
        match self.room.last_chunk_mut() {
            Some(tail) => *tail = link(key, next),
            None => return Err(damaged(key, "does not match its checksum")),
        }
        there.insert(self.room.as_slice())?;
        Ok(())
    }

    /// Removes a key; how long its value was, if it was there.
    fn remove(&mut self, key: &[u8]) -> StoreResult<Option<usize>> {
        self.flush(None)?;
        let removed = self.entries.remove(key)?.map(|old| (value_len(old.value()), tail_of(old.value())));
        let (before, tail, next) = self.around(key)?;
        let Some((len, own_tail)) = removed else {
            check_tail(&before, tail, &next)?;
            return Ok(None);
        };
        check_tail(&before, tail, key)?;
        check_tail(key, own_tail, &next)?;
        self.relink(&before, &next)?;
        Ok(Some(len))
    }

    /// Removes a table; how many entries and bytes went.
    fn remove_table(&mut self, table: u32) -> StoreResult<(i64, i64)> {
        self.flush(None)?;
        let (start, end) = (Key::count(table), Key::end(table));
        let (before, mut tail, _) = self.around(start.as_slice())?;
        let (mut count, mut bytes) = (0, 0);
        let mut last = before.clone();
        let mut broken = Ok(());
        self.entries.retain_in::<&[u8], _>(start.as_slice()..end.as_slice(), |key, value| {
            if broken.is_ok() {
                broken = check_tail(&last, tail, key);
            }
            last.clear();
            last.extend_from_slice(key);
            tail = tail_of(value);
            count += i64::from(key.get(4) == Some(&ENTRY));
            bytes += size_of_entry(key, value) as i64;
            false
        })?;
        broken?;
        let (_, _, next) = self.around(end.as_slice())?;
        check_tail(&last, tail, &next)?;
        self.relink(&before, &next)?;
        Ok((count, bytes))
    }
}

/// How much an entry counts, by what the file holds; 0 for what is none.
fn size_of_entry(key: &[u8], value: &[u8]) -> u64 {
    if key.get(4) == Some(&ENTRY) { (key.len() - 5 + value_len(value)) as u64 } else { 0 }
}

/// How much tables grow.
#[derive(Default)]
struct Growth {
    /// Entries of each table, but for the last.
    tables: HashMap<u32, i64>,
    /// Most commits write to few tables, many times in a row.
    last: (u32, i64),
    bytes: i64,
    entries: i64,
}

impl Growth {
    fn add(&mut self, table: u32, entries: i64, bytes: i64) {
        if self.last.0 != table {
            self.finish();
            self.last.0 = table;
        }
        self.last.1 += entries;
        self.count(table, entries, bytes);
    }

    /// What is not counted by table.
    fn count(&mut self, table: u32, entries: i64, bytes: i64) {
        if !is_own(table) {
            self.entries += entries;
            self.bytes += bytes;
        }
    }

    fn finish(&mut self) {
        let (table, entries) = std::mem::take(&mut self.last);
        if entries != 0 {
            *self.tables.entry(table).or_default() += entries;
        }
    }
}

/// The order in which they are in the file, so that new entries lie beside each other.
fn place<'a>(write: &Write<'a>) -> (u32, bool, &'a str) {
    match write {
        Write::RemoveTable { table } => (*table, false, ""),
        Write::Set { table, key, .. } | Write::Delete { table, key } => (*table, true, key),
    }
}

/// Writes everything and brings the sizes up to date. What all tables hold then, when that has changed.
pub(super) fn apply<'a>(
    entries: &mut EntriesMut<'_>,
    writes: impl Iterator<Item = Write<'a>>,
    cancel: &CancelToken,
) -> StoreResult<Option<Usage>> {
    let mut collected = cancel.watch(writes);
    let mut sorted: Vec<Write<'a>> = (&mut collected).collect();
    collected.finish()?;
    sorted.sort_unstable_by(|a, b| place(a).cmp(&place(b)));
    let mut growth = Growth::default();
    let mut chain = Chain::new(entries);
    let mut writes = cancel.watch(sorted.into_iter());
    for write in &mut writes {
        match write {
            Write::Set { table, key, value } => match chain.set(Key::entry(table, key).as_slice(), value)? {
                Some(old) => growth.add(table, 0, value.len() as i64 - old as i64),
                None => growth.add(table, 1, (key.len() + value.len()) as i64),
            },
            Write::Delete { table, key } => {
                if let Some(old) = chain.remove(Key::entry(table, key).as_slice())? {
                    growth.add(table, -1, -((key.len() + old) as i64));
                }
            }
            Write::RemoveTable { table } => {
                let (count, bytes) = chain.remove_table(table)?;
                growth.finish();
                growth.tables.remove(&table);
                growth.count(table, -count, -bytes);
            }
        }
    }
    writes.finish()?;
    chain.flush(None)?;
    growth.finish();
    for (table, by) in growth.tables {
        let key = Key::count(table);
        let before = match find(chain.entries, key.as_slice())? {
            Some(bytes) => read_count(bytes.value())?,
            None => 0,
        };
        match before.saturating_add_signed(by) {
            0 => drop(chain.remove(key.as_slice())?),
            count => drop(chain.set(key.as_slice(), &count.to_le_bytes())?),
        }
        chain.flush(None)?;
    }
    if growth.entries == 0 && growth.bytes == 0 {
        return Ok(None);
    }
    let before = usage(chain.entries)?;
    let now = Usage {
        bytes: before.bytes.saturating_add_signed(growth.bytes),
        entries: before.entries.saturating_add_signed(growth.entries),
    };
    chain.set(Key::count(0).as_slice(), &encode_usage(now))?;
    Ok(Some(now))
}
