//! What is in the file.
//!
//! One redb table `luacell` of text to numbers says that it is ours and in which format; another one, `entries`, holds everything
//! else. Its keys begin with the table's number, big-endian, so that a table lies together. A 0 follows for the
//! number of entries (u64, little-endian; absent when there are none), or a 1 and the key for an entry.

use ahash::HashMap;
use redb::{ReadOnlyTable, ReadableTable, Table, TableDefinition};

use crate::store::{StoreError, StoreResult, Write};

pub(super) const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("luacell");
pub(super) const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");

/// [`ENTRIES`] for reading and for writing.
pub(super) type Entries = ReadOnlyTable<&'static [u8], &'static [u8]>;
pub(super) type EntriesMut<'a> = Table<'a, &'static [u8], &'static [u8]>;

/// The key in [`ABOUT`] and the format that this version reads and writes.
pub(super) const FORMAT_KEY: &str = "format";
pub(super) const FORMAT: u64 = 1;

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

pub(super) fn read_count(bytes: &[u8]) -> StoreResult<u64> {
    let bytes = bytes.try_into().map_err(|_| StoreError::from("the size of a table is malformed"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Writes everything and brings the sizes up to date.
pub(super) fn apply<'a>(entries: &mut EntriesMut<'_>, writes: impl Iterator<Item = Write<'a>>) -> StoreResult<()> {
    let mut growth: HashMap<u32, i64> = HashMap::default();
    // Most commits write to few tables, many times in a row.
    let mut last = (0, 0i64);
    let mut grow = |growth: &mut HashMap<u32, i64>, table: u32, by: i64| {
        if last.0 != table {
            if last.1 != 0 {
                *growth.entry(last.0).or_default() += last.1;
            }
            last = (table, 0);
        }
        last.1 += by;
    };
    for write in writes {
        match write {
            Write::Set { table, key, value } => {
                if entries.insert(Key::entry(table, key).as_slice(), value)?.is_none() {
                    grow(&mut growth, table, 1);
                }
            }
            Write::Delete { table, key } => {
                if entries.remove(Key::entry(table, key).as_slice())?.is_some() {
                    grow(&mut growth, table, -1);
                }
            }
            Write::RemoveTable { table } => {
                let (start, end) = (Key::count(table), Key::end(table));
                entries.retain_in::<&[u8], _>(start.as_slice()..end.as_slice(), |_, _| false)?;
                grow(&mut growth, 0, 0);
                growth.remove(&table);
            }
        }
    }
    grow(&mut growth, 0, 0);
    for (table, by) in growth {
        let key = Key::count(table);
        let before = match entries.get(key.as_slice())? {
            Some(bytes) => read_count(bytes.value())?,
            None => 0,
        };
        match before.saturating_add_signed(by) {
            0 => drop(entries.remove(key.as_slice())?),
            count => drop(entries.insert(key.as_slice(), count.to_le_bytes().as_slice())?),
        }
    }
    Ok(())
}
