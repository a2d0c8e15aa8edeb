//! Writes on their way to the server, in parts that are small enough not to keep others waiting.

use ahash::HashMap;

use crate::store::Write;
use crate::value::codec;

/// A part has at most so many writes, and about so many bytes.
const WRITES: usize = 2048;
const BYTES: usize = 1 << 20;

/// Some writes.
#[derive(Default)]
pub(super) struct Part {
    /// The tables that they are made to.
    pub(super) tables: Vec<u32>,
    /// Where in `tables` each is, from 1.
    places: HashMap<u32, usize>,
    /// See `write.lua`.
    writes: Vec<u8>,
    count: usize,
    /// The tables that values refer to.
    references: Vec<u32>,
}

impl Part {
    /// Takes as many writes as fit in; one always does.
    pub(super) fn take<'a>(writes: &mut std::iter::Peekable<impl Iterator<Item = Write<'a>>>) -> Self {
        let mut part = Part::default();
        while part.count < WRITES
            && let Some(write) = writes.next_if(|write| {
                let Write::Set { key, value, .. } = write else { return true };
                part.count == 0 || part.writes.len() + key.len() + value.len() < BYTES
            })
        {
            part.add(&write);
        }
        part
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a value refers to a table.
    pub(super) fn refers(&self) -> bool {
        !self.references.is_empty()
    }

    /// Where a table is in `tables`, from 1; it comes there when it is not.
    pub(super) fn place(&mut self, table: u32) -> usize {
        *self.places.entry(table).or_insert_with(|| {
            self.tables.push(table);
            self.tables.len()
        })
    }

    fn add(&mut self, write: &Write<'_>) {
        self.count += 1;
        let (Write::Set { table, .. } | Write::Delete { table, .. } | Write::RemoveTable { table }) = *write;
        put_number(self.place(table), &mut self.writes);
        let (key, value) = match *write {
            Write::Set { key, value, .. } => (Some(key), Some(value)),
            Write::Delete { key, .. } => (Some(key), None),
            Write::RemoveTable { .. } => (None, None),
        };
        put(key.map(str::as_bytes), &mut self.writes);
        put(value, &mut self.writes);
        if let Some(value) = value.filter(|value| codec::may_refer(value)) {
            codec::references(value, &mut |id| self.references.push(id));
        }
    }

    /// The writes as a list in MessagePack.
    pub(super) fn packed(&self) -> Vec<u8> {
        let mut packed = Vec::with_capacity(self.writes.len() + 5);
        put_list(3 * self.count, &mut packed);
        packed.extend_from_slice(&self.writes);
        packed
    }

    /// What `apply.lua` takes.
    pub(super) fn into_elements(self) -> [Vec<u8>; 3] {
        let tables: Vec<String> = self.tables.iter().map(u32::to_string).collect();
        let mut references = Vec::new();
        put_list(self.references.len(), &mut references);
        self.references.iter().for_each(|id| put_number(*id as usize, &mut references));
        [tables.join(",").into_bytes(), self.packed(), references]
    }
}

fn put_list(len: usize, out: &mut Vec<u8>) {
    out.push(0xdd);
    out.extend_from_slice(&(len as u32).to_be_bytes());
}

fn put_number(n: usize, out: &mut Vec<u8>) {
    out.push(0xce);
    out.extend_from_slice(&(n as u32).to_be_bytes());
}

/// Bytes, or false for none.
fn put(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(bytes) = bytes else { return out.push(0xc2) };
    out.push(0xdb);
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}
