//! What is in the file.
//!
//! One redb table `luacell` of text to numbers says that it is ours and in which format; another one, `entries`, holds everything
//! else. Its keys begin with the table's number, big-endian, so that a table lies together. A 0 follows for the
//! number of entries (u64, little-endian; absent when there are none), or a 1 and the key for an entry. Table 0 is none: under its number of entries
//! is what all tables but the library's own hold, bytes and entries (u64 both). Behind each value stands the CRC-32 of key and value (u32,
//! little-endian): redb looks at its own checksums after a crash only.

use ahash::HashMap;
use redb::{ReadOnlyTable, ReadableTable, Table, TableDefinition};

use crate::store::{StoreError, StoreResult, Usage, Write};
use crate::tables::OWN;

pub(super) const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("luacell");
pub(super) const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");

/// [`ENTRIES`] for reading and for writing.
pub(super) type Entries = ReadOnlyTable<&'static [u8], &'static [u8]>;
pub(super) type EntriesMut<'a> = Table<'a, &'static [u8], &'static [u8]>;

/// The key in [`ABOUT`] and the format that this version reads and writes.
pub(super) const FORMAT_KEY: &str = "format";
pub(super) const FORMAT: u64 = 2;

const COUNT: u8 = 0;
const ENTRY: u8 = 1;
/// Behind all of a table.
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

pub(super) fn table_of(key: &[u8]) -> Option<u32> {
    key.first_chunk().map(|number| u32::from_be_bytes(*number))
}

const CHECKSUM: usize = 4;

fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(value);
    crc.finalize().to_le_bytes()
}

/// The value in what the file holds under a key.
pub(super) fn value_of<'a>(key: &[u8], stored: &'a [u8]) -> StoreResult<&'a [u8]> {
    match stored.split_last_chunk() {
        Some((value, sum)) if *sum == checksum(key, value) => Ok(value),
        _ => {
            let table = table_of(key).unwrap_or_default();
            let shown = entry_key(key).unwrap_or_default();
            Err(format!("damaged: an entry of table {table}, '{}', does not match its checksum", shown.escape_debug())
                .into())
        }
    }
}

/// Puts a value under a key; how long the one was that was there.
fn insert(entries: &mut EntriesMut<'_>, key: &Key, value: &[u8], room: &mut Vec<u8>) -> StoreResult<Option<usize>> {
    room.clear();
    room.extend_from_slice(value);
    room.extend_from_slice(&checksum(key.as_slice(), value));
    Ok(entries.insert(key.as_slice(), room.as_slice())?.map(|old| old.value().len().saturating_sub(CHECKSUM)))
}

pub(super) fn read_count(bytes: &[u8]) -> StoreResult<u64> {
    let bytes = bytes.try_into().map_err(|_| StoreError::from("the size of a table is malformed"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// What the file says that its tables hold.
fn noted_usage(entries: &impl ReadableTable<&'static [u8], &'static [u8]>) -> StoreResult<Option<Usage>> {
    let key = Key::count(0);
    let Some(noted) = entries.get(key.as_slice())? else {
        return Ok(None);
    };
    let Some((bytes, count)) = value_of(key.as_slice(), noted.value())?.split_first_chunk() else {
        return Err("the size of all tables is malformed".into());
    };
    Ok(Some(Usage { bytes: u64::from_le_bytes(*bytes), entries: read_count(count)? }))
}

/// What the tables hold.
pub(super) fn usage(entries: &impl ReadableTable<&'static [u8], &'static [u8]>) -> StoreResult<Usage> {
    if let Some(usage) = noted_usage(entries)? {
        return Ok(usage);
    }
    let mut usage = Usage::default();
    let end = Key::count(OWN);
    for entry in entries.range::<&[u8]>(..end.as_slice())? {
        let (key, value) = entry?;
        usage.entries += u64::from(key.value().get(4) == Some(&ENTRY));
        usage.bytes += size_of_entry(key.value(), value.value());
    }
    Ok(usage)
}

/// How much an entry counts, by what the file holds; 0 for what is none.
fn size_of_entry(key: &[u8], value: &[u8]) -> u64 {
    if key.get(4) == Some(&ENTRY) { (key.len() - 5 + value.len().saturating_sub(CHECKSUM)) as u64 } else { 0 }
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
        if table != OWN {
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

/// Writes everything and brings the sizes up to date. What all tables hold then, when that has changed.
pub(super) fn apply<'a>(
    entries: &mut EntriesMut<'_>,
    writes: impl Iterator<Item = Write<'a>>,
) -> StoreResult<Option<Usage>> {
    let mut growth = Growth::default();
    let mut room = Vec::new();
    for write in writes {
        match write {
            Write::Set { table, key, value } => match insert(entries, &Key::entry(table, key), value, &mut room)? {
                Some(old) => growth.add(table, 0, value.len() as i64 - old as i64),
                None => growth.add(table, 1, (key.len() + value.len()) as i64),
            },
            Write::Delete { table, key } => {
                let old = entries.remove(Key::entry(table, key).as_slice())?;
                if let Some(old) = old.map(|old| old.value().len().saturating_sub(CHECKSUM)) {
                    growth.add(table, -1, -((key.len() + old) as i64));
                }
            }
            Write::RemoveTable { table } => {
                let (start, end) = (Key::count(table), Key::end(table));
                let (mut count, mut bytes) = (0, 0);
                entries.retain_in::<&[u8], _>(start.as_slice()..end.as_slice(), |key, value| {
                    count += i64::from(key.get(4) == Some(&ENTRY));
                    bytes += size_of_entry(key, value) as i64;
                    false
                })?;
                growth.finish();
                growth.tables.remove(&table);
                growth.count(table, -count, -bytes);
            }
        }
    }
    growth.finish();
    for (table, by) in growth.tables {
        let key = Key::count(table);
        let before = match entries.get(key.as_slice())? {
            Some(bytes) => read_count(value_of(key.as_slice(), bytes.value())?)?,
            None => 0,
        };
        match before.saturating_add_signed(by) {
            0 => drop(entries.remove(key.as_slice())?),
            count => drop(insert(entries, &key, &count.to_le_bytes(), &mut room)?),
        }
    }
    if growth.entries == 0 && growth.bytes == 0 {
        return Ok(None);
    }
    let now = match noted_usage(entries)? {
        Some(before) => Usage {
            bytes: before.bytes.saturating_add_signed(growth.bytes),
            entries: before.entries.saturating_add_signed(growth.entries),
        },
        None => usage(entries)?,
    };
    let noted = [now.bytes.to_le_bytes(), now.entries.to_le_bytes()].concat();
    insert(entries, &Key::count(0), &noted, &mut room)?;
    Ok(Some(now))
}
