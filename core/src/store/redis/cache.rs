//! What a run knows of the tables that it reads.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use ::redis::Value;
use ahash::HashMap;

use super::session::{bytes, number};
use crate::value::codec::{self, tag};

/// A table with at most so many entries, and bytes, comes over as a whole when one of its entries is read.
const SMALL: (usize, usize) = (128, 64 << 10);

/// The same when all of it is wanted. A larger one comes in portions, so that the server has time for others.
const WHOLE: (usize, usize) = (4096, 1 << 20);

/// The bytes of an entry that tell which commit wrote it.
pub(super) const VERSION: usize = 8;

/// What is read ahead of somebody who reads one entry after another: so much at first, four times as much each time, at
/// most so much.
const AHEAD: usize = 8;
const MOST_AHEAD: usize = 1024;

/// The same for small tables, one after another of those that a table refers to.
const MOST_TABLES_AHEAD: usize = 64;

/// Of a table of at most so many entries, whose keys show no order, some entries come along.
const MIXED: u64 = 1 << 15;

/// Something to read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    Get(u32, String),
    Size(u32),
    /// All of it, if it is small.
    Small(u32),
    /// All of it, if it is not large.
    Whole(u32),
    /// Some of it, from a cursor on.
    Part(u32, u64, usize),
}

impl Request {
    pub(super) fn table(&self) -> u32 {
        let (Request::Get(id, _) | Request::Size(id) | Request::Small(id) | Request::Whole(id) | Request::Part(id, ..)) =
            self;
        *id
    }

    /// As `read.lua` takes it; the table is the key of this number.
    pub(super) fn arguments(&self, key: usize, out: &mut Vec<Vec<u8>>) {
        let number = |n: usize| n.to_string().into_bytes();
        let letter = match self {
            Request::Get(..) => "g",
            Request::Size(_) => "s",
            Request::Small(_) | Request::Whole(_) => "t",
            Request::Part(..) => "p",
        };
        out.extend([letter.into(), number(key)]);
        match self {
            Request::Get(_, key) => out.push(key.clone().into_bytes()),
            Request::Size(_) => {}
            Request::Small(_) => out.extend([number(SMALL.0), number(SMALL.1)]),
            Request::Whole(_) => out.extend([number(WHOLE.0), number(WHOLE.1)]),
            Request::Part(_, cursor, count) => out.extend([cursor.to_string().into_bytes(), number(*count)]),
        }
    }
}

/// What a run knows of a table.
#[derive(Default)]
pub(super) struct Cached {
    pub(super) entries: BTreeMap<String, Known>,
    pub(super) size: Option<u64>,
    pub(super) size_used: bool,
    /// The version, empty when the table has none; known when all keys are.
    pub(super) version: Vec<u8>,
    /// All keys are in `entries`, with values.
    pub(super) whole: bool,
    pub(super) all_used: bool,
    /// What was used of it was something else by the time all of it came.
    pub(super) changed: bool,
    /// It is too large to come as a whole with the first entry.
    pub(super) asked: bool,
    ahead: Ahead,
    /// The same for the tables that this one refers to.
    tables_ahead: usize,
}

/// One entry: the version and the value as they came, or that there is none.
pub(super) struct Known {
    pub(super) entry: Option<Vec<u8>>,
    pub(super) used: bool,
}

impl Known {
    /// The table that it is.
    fn table(&self) -> Option<u32> {
        let value = self.entry.as_ref()?.get(VERSION..)?;
        let mut table = None;
        if value.first() == Some(&tag::EXTERNAL) {
            codec::references(value, &mut |id| table = Some(id));
        }
        table
    }
}

/// Who reads one entry after another probably goes on.
#[derive(Default)]
struct Ahead {
    /// The last key that had to be fetched, if it ends in a number: what is before that, and the number.
    last: Option<(String, i64)>,
    count: usize,
    /// Where the portions of a table without order are, and how many there were.
    cursor: u64,
    misses: u32,
    through: bool,
}

/// A part of a table.
pub(super) struct Portion {
    pub(super) version: Vec<u8>,
    pub(super) cursor: u64,
    pub(super) entries: Vec<(String, Vec<u8>)>,
}

/// Keys and entries in turn.
pub(super) fn pairs(all: Value) -> Option<Vec<(String, Vec<u8>)>> {
    let values: Vec<Value> = match all {
        Value::Array(pairs) => pairs,
        Value::Map(pairs) => pairs.into_iter().flat_map(|(key, value)| [key, value]).collect(),
        _ => return None,
    };
    let mut pairs = Vec::with_capacity(values.len() / 2);
    let mut values = values.into_iter();
    while let (Some(key), Some(entry)) = (values.next(), values.next()) {
        pairs.push((String::from_utf8(bytes(key)??).ok()?, bytes(entry)??));
    }
    Some(pairs)
}

impl Portion {
    pub(super) fn read(answer: Value) -> Option<Self> {
        let Value::Array(parts) = answer else { return None };
        let mut parts = parts.into_iter();
        let (version, cursor) = (bytes(parts.next()?)??, number(parts.next())?);
        Some(Portion { version, cursor, entries: pairs(parts.next()?)? })
    }
}

/// What an entry takes in memory, about.
pub(super) fn size_of_entry(key: &str, entry: Option<&[u8]>) -> usize {
    2 * size_of::<(String, Known)>() + key.len() + entry.map_or(0, <[u8]>::len)
}

/// The number in decimal digits that a key ends in, and what is before it.
fn numbered(key: &str) -> Option<(&str, i64)> {
    let digits = key.bytes().rev().take_while(u8::is_ascii_digit).count().min(18);
    let (prefix, number) = key.split_at_checked(key.len() - digits)?;
    let plain = number.len() == 1 || !number.starts_with('0');
    Some((prefix, number.parse().ok().filter(|_| plain)?))
}

impl Cached {
    /// Takes in an entry. What is known already stays: a run sees one value only, and the commit tells whether it was
    /// the right one. What it takes in memory.
    fn learn(&mut self, key: String, entry: Option<Vec<u8>>) -> usize {
        let size = size_of_entry(&key, entry.as_deref());
        self.entries.entry(key).or_insert(Known { entry, used: false });
        size
    }

    /// Takes in all entries.
    pub(super) fn learn_all(&mut self, version: Vec<u8>, all: impl IntoIterator<Item = (String, Vec<u8>)>) -> usize {
        self.version = version;
        self.whole = true;
        let used = std::mem::take(&mut self.entries);
        let (mut n, mut held) = (0, 0);
        for (key, entry) in all {
            held += self.learn(key, Some(entry));
            n += 1;
        }
        self.learn_size(n);
        self.changed |= self.size != Some(n);
        // A run sees one value only.
        for (key, known) in used.into_iter().filter(|(_, known)| known.used) {
            self.changed |= self.entries.get(&key).and_then(|now| now.entry.as_ref()) != known.entry.as_ref();
            self.entries.insert(key, known);
        }
        held
    }

    fn learn_size(&mut self, n: u64) {
        if !self.size_used {
            self.size = Some(n);
        }
    }

    /// Whether an answer to this would tell nothing new.
    pub(super) fn knows(&self, request: &Request) -> bool {
        match request {
            Request::Get(_, key) => self.whole || self.entries.contains_key(key),
            Request::Size(_) => self.size.is_some(),
            Request::Small(_) => self.asked || self.whole,
            Request::Whole(_) | Request::Part(..) => self.whole,
        }
    }

    /// What to fetch, besides this entry, which is not here.
    fn ahead_of(&mut self, id: u32, key: &str) -> Vec<Request> {
        let ahead = &mut self.ahead;
        ahead.misses += 1;
        let now = numbered(key).map(|(prefix, number)| (prefix.to_owned(), number));
        let before = std::mem::replace(&mut ahead.last, now.clone());
        if let (Some((before, from)), Some((prefix, to))) = (before, now)
            && before == prefix
            && let step @ (-64..=-1 | 1..=64) = (to - from) / (ahead.count as i64 + 1)
            && from + step * (ahead.count as i64 + 1) == to
        {
            ahead.count = (4 * ahead.count).clamp(AHEAD, MOST_AHEAD);
            let numbers = (1..=ahead.count as i64).map(|i| to + i * step);
            ahead.last = Some((prefix.clone(), to));
            return numbers.map(|n| Request::Get(id, format!("{prefix}{n}"))).collect();
        }
        ahead.count = 0;
        if ahead.misses > 3 && !ahead.through && self.size.is_some_and(|size| size <= MIXED) {
            let count = (AHEAD << ahead.misses.min(16)).min(4 * MOST_AHEAD);
            return vec![Request::Part(id, ahead.cursor, count)];
        }
        Vec::new()
    }
}

/// What a run knows.
#[derive(Default)]
pub(super) struct Cache {
    pub(super) tables: HashMap<u32, Cached>,
    /// The bytes that all entries take.
    pub(super) held: usize,
    /// Which table refers to a table that was come upon, and under which key.
    parents: HashMap<u32, (u32, String)>,
}

impl Cache {
    pub(super) fn clear(&mut self) {
        self.tables.clear();
        self.parents.clear();
        self.held = 0;
    }

    pub(super) fn table(&mut self, id: u32) -> &mut Cached {
        self.tables.entry(id).or_default()
    }

    pub(super) fn knows(&self, request: &Request) -> bool {
        self.tables.get(&request.table()).is_some_and(|table| table.knows(request))
    }

    /// Takes in an answer.
    pub(super) fn learn(&mut self, request: Request, answer: Value) -> Option<()> {
        let table = self.tables.entry(request.table()).or_default();
        match request {
            Request::Get(_, key) => {
                let entry = bytes(answer)?;
                self.held += table.learn(key, entry);
            }
            Request::Size(_) => table.learn_size(number(Some(answer))?),
            Request::Small(_) | Request::Whole(_) => {
                table.asked = true;
                let Value::Array(parts) = answer else { return None };
                let mut parts = parts.into_iter();
                table.learn_size(number(parts.next())?);
                let version = bytes(parts.next()?)??;
                if let Some(all) = parts.next() {
                    self.held += table.learn_all(version, pairs(all)?);
                }
            }
            Request::Part(..) => {
                let portion = Portion::read(answer)?;
                table.ahead.cursor = portion.cursor;
                table.ahead.through = portion.cursor == 0;
                for (key, entry) in portion.entries {
                    self.held += table.learn(key, Some(entry));
                }
            }
        }
        Some(())
    }

    /// What to fetch when an entry is read that is not here.
    pub(super) fn wanted(&mut self, id: u32, key: &str) -> Vec<Request> {
        let mut requests = vec![Request::Get(id, key.to_owned())];
        let table = self.tables.entry(id).or_default();
        if table.asked {
            requests.extend(table.ahead_of(id, key));
        } else {
            requests.push(Request::Small(id));
            requests.extend(self.siblings(id));
        }
        requests
    }

    /// Tables beside this one, which is not here.
    pub(super) fn siblings(&mut self, id: u32) -> Vec<Request> {
        let Some((parent, key)) = self.parents.get(&id) else { return Vec::new() };
        let Some(parent) = self.tables.get_mut(parent) else { return Vec::new() };
        let ahead = parent.tables_ahead;
        parent.tables_ahead = (4 * ahead).clamp(1, MOST_TABLES_AHEAD);
        let Some(parent) = self.parents.get(&id).and_then(|(parent, _)| self.tables.get(parent)) else {
            return Vec::new();
        };
        let others = parent.entries.range::<str, _>((Excluded(key.as_str()), Unbounded));
        let tables = others.filter_map(|(_, known)| known.table());
        let new = tables.filter(|id| self.tables.get(id).is_none_or(|table| !table.asked && !table.whole));
        new.take(ahead).map(Request::Small).collect()
    }

    /// A run uses an entry that is known.
    pub(super) fn entry(&mut self, id: u32, key: &str) -> Option<&Vec<u8>> {
        let table = self.tables.entry(id).or_default();
        if !table.entries.contains_key(key) {
            self.held += table.learn(key.to_owned(), None);
        }
        let known = table.entries.get_mut(key)?;
        if !known.used {
            known.used = true;
            if let Some(child) = known.table() {
                self.parents.entry(child).or_insert_with(|| (id, key.to_owned()));
            }
        }
        known.entry.as_ref()
    }

    /// A run uses all of a table that is known as a whole.
    pub(super) fn all(&mut self, id: u32) -> &Cached {
        let table = self.tables.entry(id).or_default();
        if !table.all_used {
            table.all_used = true;
            for (key, known) in &table.entries {
                if let Some(child) = known.table() {
                    self.parents.entry(child).or_insert_with(|| (id, key.clone()));
                }
            }
        }
        table
    }
}
