//! Values as bytes and back. The format is in `docs/MEMORY_PROTOCOL.md`.
//!
//! What comes in is untrusted: every length is checked against what is there before anything is allocated for it.
//! Nothing recurses.

use std::sync::Arc;

use ahash::RandomState;

use crate::value::{Function, FunctionKind, Graph, LuaString, Node, Slot, Table, Value};
use crate::{Error, ErrorKind, Result, StoredTable};

/// The tags of encoded values.
pub(crate) mod tag {
    pub(crate) const NIL: u8 = 0x00;
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const FLOAT: u8 = 0x03;
    pub(crate) const STRING: u8 = 0x04;
    pub(crate) const FUNCTION: u8 = 0x05;
    pub(crate) const BUILTIN: u8 = 0x06;
    pub(crate) const EXTERNAL: u8 = 0x07;
    pub(crate) const TABLE: u8 = 0x08;
    pub(crate) const SEEN: u8 = 0x09;
    pub(crate) const HANDLE: u8 = 0x0A;
    pub(crate) const STORED_FUNCTION: u8 = 0x0B;
    pub(crate) const STORED_UPVALUE: u8 = 0x0C;
    pub(crate) const BIGINT: u8 = 0x0D;
}

/// What values of one sandbox refer to.
pub(crate) trait Links {
    /// A view of a stored table; `cell` for one that holds an upvalue.
    fn stored(&self, id: u32, cell: bool) -> StoredTable;
    /// The function behind a handle.
    fn handle(&self, id: u32) -> Function;
    /// The built-in of that name.
    fn builtin(&self, name: LuaString) -> Function;
    /// The id of a table, if it belongs to this sandbox.
    fn id_of(&self, table: &StoredTable) -> Result<u32>;
    /// The handle of a function, if it is in this sandbox's present instance.
    fn handle_of(&self, function: &crate::value::Handle) -> Result<u32>;
    /// The number of any function, for who gives numbers to all of them.
    fn number_of(&self, function: &Function) -> Option<u32> {
        let _ = function;
        None
    }
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("the guest sent a malformed value: {what}")).fatal()
}

/// Reads bytes from front to back.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (part, rest) = self.rest.split_at_checked(n).ok_or_else(|| malformed("it ends too early"))?;
        self.rest = rest;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (part, rest) = self.rest.split_first_chunk().ok_or_else(|| malformed("it ends too early"))?;
        self.rest = rest;
        Ok(*part)
    }

    fn u8(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let n = self.u32()?;
        self.take(n as usize)
    }

    /// The value behind this tag, when it is one that refers to nothing.
    #[inline]
    fn plain(&mut self, tag: u8) -> Result<Option<Value>> {
        Ok(Some(match tag {
            tag::NIL => Value::Nil,
            tag::BOOLEAN => Value::Boolean(self.u8()? != 0),
            tag::INTEGER => Value::Integer(i64::from_le_bytes(self.array()?)),
            tag::FLOAT => Value::Float(f64::from_le_bytes(self.array()?)),
            // The host sees a big integer's digits.
            tag::STRING | tag::BIGINT => Value::String(LuaString::new(self.bytes()?)),
            _ => return Ok(None),
        }))
    }
}

/// A table that is being read.
struct Open {
    node: u32,
    array_left: u32,
    pairs_left: u32,
    key: Option<Slot>,
}

struct Decoder<'a> {
    reader: Reader<'a>,
    links: &'a dyn Links,
    graph: Graph,
    open: Vec<Open>,
    /// Values that open tables still announce; each takes at least a byte.
    announced: u64,
}

impl Decoder<'_> {
    /// One value, or the head of a table.
    fn slot(&mut self) -> Result<Slot> {
        let tag = self.reader.u8()?;
        if let Some(value) = self.reader.plain(tag)? {
            return Ok(Slot::from_value(value));
        }
        Ok(match tag {
            tag::FUNCTION => {
                let code = LuaString::new(self.reader.bytes()?);
                Slot::Function(Function(Arc::new(FunctionKind::Bytecode(code))))
            }
            tag::BUILTIN => {
                let name = LuaString::new(self.reader.bytes()?);
                Slot::Function(self.links.builtin(name))
            }
            tag::EXTERNAL => Slot::Stored(self.links.stored(self.id()?, false)),
            tag::TABLE => self.table()?,
            tag::SEEN => {
                let number = self.reader.u32()?;
                if number as usize >= self.graph.len() {
                    return Err(malformed("it refers to a table that is not there"));
                }
                Slot::Node(number)
            }
            tag::HANDLE => Slot::Function(self.links.handle(self.reader.u32()?)),
            tag::STORED_FUNCTION => {
                let table = self.links.stored(self.id()?, false);
                Slot::Function(Function(Arc::new(FunctionKind::Stored(table))))
            }
            tag::STORED_UPVALUE => Slot::Stored(self.links.stored(self.id()?, true)),
            other => return Err(malformed(&format!("unknown tag 0x{other:02x}"))),
        })
    }

    fn id(&mut self) -> Result<u32> {
        match self.reader.u32()? {
            0 => Err(malformed("a table with id 0")),
            id => Ok(id),
        }
    }

    fn table(&mut self) -> Result<Slot> {
        let array_left = self.reader.u32()?;
        let pairs_left = self.reader.u32()?;
        self.announced += u64::from(array_left) + 2 * u64::from(pairs_left);
        if self.announced > self.reader.rest.len() as u64 {
            return Err(malformed("a table announces more than there is"));
        }
        let node = self.graph.add(Node::with_capacity(array_left as usize))?;
        self.open.push(Open { node, array_left, pairs_left, key: None });
        Ok(Slot::Node(node))
    }

    /// Puts a value where the table `open[at]` wants it.
    fn deliver(&mut self, at: usize, slot: Slot) -> Result<()> {
        let Some(open) = self.open.get_mut(at) else {
            return Ok(());
        };
        let Some(node) = self.graph.node_mut(open.node) else {
            return Ok(());
        };
        if open.array_left > 0 {
            open.array_left -= 1;
            node.push_raw(slot);
            if open.array_left == 0 {
                node.finish_array();
            }
        } else if let Some(key) = open.key.take() {
            open.pairs_left -= 1;
            node.set(key, slot);
        } else {
            open.key = Some(slot.into_key().ok_or_else(|| malformed("a table with a nil or NaN key"))?);
        }
        Ok(())
    }

    /// One whole value.
    fn value(&mut self) -> Result<Slot> {
        let root = self.slot()?;
        loop {
            while self.open.last().is_some_and(|o| o.array_left == 0 && o.pairs_left == 0) {
                self.open.pop();
            }
            let Some(at) = self.open.len().checked_sub(1) else {
                return Ok(root);
            };
            self.announced -= 1;
            let slot = self.slot()?;
            self.deliver(at, slot)?;
        }
    }
}

/// All values of a message, when they are such that need no looking after: what calls mostly pass.
#[inline]
fn decode_simple(bytes: &[u8], values: &mut Vec<Value>) -> Option<()> {
    let mut reader = Reader { rest: bytes };
    values.reserve(bytes.len() / 9 + 1);
    while let Some((tag, rest)) = reader.rest.split_first() {
        reader.rest = rest;
        values.push(reader.plain(*tag).ok()??);
    }
    Some(())
}

/// All values of a message.
#[inline]
pub(crate) fn decode(bytes: &[u8], links: &dyn Links) -> Result<Vec<Value>> {
    let mut values = Vec::new();
    decode_into(bytes, links, &mut values).map(|()| values)
}

/// Replaces what is in the list by all values of a message.
#[inline]
pub(crate) fn decode_into(bytes: &[u8], links: &dyn Links, values: &mut Vec<Value>) -> Result<()> {
    values.clear();
    if decode_simple(bytes, values).is_none() {
        *values = decode_any(bytes, links)?;
    }
    Ok(())
}

fn decode_any(bytes: &[u8], links: &dyn Links) -> Result<Vec<Value>> {
    let mut decoder =
        Decoder { reader: Reader { rest: bytes }, links, graph: Graph::new(), open: Vec::new(), announced: 0 };
    let mut slots = Vec::new();
    while !decoder.reader.rest.is_empty() {
        slots.push(decoder.value()?);
    }
    let graph = Arc::new(decoder.graph);
    Ok(slots.into_iter().map(|slot| slot.into_value(&graph)).collect())
}

/// Whether an encoded value may refer to a table: most don't, and show it at once.
#[inline]
pub(crate) fn may_refer(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(&(tag::EXTERNAL | tag::TABLE | tag::STORED_FUNCTION | tag::STORED_UPVALUE)))
}

/// Hands the ids of all tables that an encoded value refers to, to `visit`. Bytes that make no sense end the walk: they refer to nothing.
pub(crate) fn references(bytes: &[u8], visit: &mut dyn FnMut(u32)) {
    let mut reader = Reader { rest: bytes };
    // Inline tables need no stack here: what follows their head is values, however they nest.
    let _: Result<()> = (|| {
        while !reader.rest.is_empty() {
            match reader.u8()? {
                tag::NIL => {}
                tag::BOOLEAN => drop(reader.take(1)?),
                tag::INTEGER | tag::FLOAT | tag::TABLE => drop(reader.take(8)?),
                tag::STRING | tag::FUNCTION | tag::BUILTIN | tag::BIGINT => drop(reader.bytes()?),
                tag::SEEN | tag::HANDLE => drop(reader.take(4)?),
                tag::EXTERNAL | tag::STORED_FUNCTION | tag::STORED_UPVALUE => visit(reader.u32()?),
                other => return Err(malformed(&format!("unknown tag 0x{other:02x}"))),
            }
        }
        Ok(())
    })();
}

/// The value with other numbers for the tables that it refers to; `None` when the bytes are no value.
pub(crate) fn renumber(bytes: &[u8], number: &mut dyn FnMut(u32) -> u32) -> Option<Vec<u8>> {
    let mut out = bytes.to_vec();
    let mut reader = Reader { rest: bytes };
    while !reader.rest.is_empty() {
        match reader.u8().ok()? {
            tag::NIL => {}
            tag::BOOLEAN => drop(reader.take(1).ok()?),
            tag::INTEGER | tag::FLOAT | tag::TABLE => drop(reader.take(8).ok()?),
            tag::STRING | tag::FUNCTION | tag::BUILTIN | tag::BIGINT => drop(reader.bytes().ok()?),
            tag::SEEN => drop(reader.take(4).ok()?),
            tag::EXTERNAL | tag::STORED_FUNCTION | tag::STORED_UPVALUE => {
                let at = bytes.len() - reader.rest.len();
                let new = number(reader.u32().ok()?);
                out.get_mut(at..at + 4)?.copy_from_slice(&new.to_le_bytes());
            }
            _ => return None,
        }
    }
    (!bytes.is_empty()).then_some(out)
}

/// Appends the length and the bytes, after a tag.
pub(crate) fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) -> Result<()> {
    let n = u32::try_from(bytes.len()).map_err(|_| Error::conversion("a string of 4 GiB or more can't be passed"))?;
    out.push(tag);
    out.extend_from_slice(&n.to_le_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

pub(crate) fn put_u32(out: &mut Vec<u8>, tag: u8, n: u32) {
    out.push(tag);
    out.extend_from_slice(&n.to_le_bytes());
}

#[inline]
pub(crate) fn put_boolean(out: &mut Vec<u8>, b: bool) {
    out.extend_from_slice(&[tag::BOOLEAN, u8::from(b)]);
}

#[inline]
pub(crate) fn put_number(out: &mut Vec<u8>, tag: u8, bytes: [u8; 8]) {
    out.push(tag);
    out.extend_from_slice(&bytes);
}

/// Writes everything but tables and functions.
fn put_plain(out: &mut Vec<u8>, slot: &Slot, links: &dyn Links) -> Result<()> {
    match slot {
        Slot::Nil | Slot::Node(_) | Slot::Table(_) | Slot::Function(_) => out.push(tag::NIL),
        Slot::Boolean(b) => put_boolean(out, *b),
        Slot::Integer(n) => put_number(out, tag::INTEGER, n.to_le_bytes()),
        Slot::Float(x) => put_number(out, tag::FLOAT, x.to_le_bytes()),
        Slot::String(s) => put_bytes(out, tag::STRING, s.as_bytes())?,
        Slot::Stored(table) => {
            let kind = if table.is_cell() { tag::STORED_UPVALUE } else { tag::EXTERNAL };
            put_u32(out, kind, links.id_of(table)?);
        }
    }
    Ok(())
}

/// A table that is being written.
struct Writing {
    table: Table,
    /// How many slots of the array part are written.
    array: usize,
    /// The place in the hash part.
    hash: usize,
    /// The value whose key was written last.
    value: Option<Slot>,
    /// What is being written, for messages.
    place: Slot,
}

/// Writes arguments for the guest; tables inline.
#[inline]
pub(crate) fn encode_args(values: &[Value], out: &mut Vec<u8>, links: &dyn Links) -> Result<()> {
    let start = out.len();
    if encode_simple(values, out) {
        return Ok(());
    }
    out.truncate(start);
    encode_any(values, out, links)
}

/// Writes values that need no looking after; false when there is another one among them.
#[inline]
fn encode_simple(values: &[Value], out: &mut Vec<u8>) -> bool {
    for value in values {
        match value {
            Value::Nil => out.push(tag::NIL),
            Value::Boolean(b) => put_boolean(out, *b),
            Value::Integer(n) => put_number(out, tag::INTEGER, n.to_le_bytes()),
            Value::Float(x) => put_number(out, tag::FLOAT, x.to_le_bytes()),
            Value::String(s) if put_bytes(out, tag::STRING, s.as_bytes()).is_ok() => {}
            _ => return false,
        }
    }
    true
}

fn encode_any(values: &[Value], out: &mut Vec<u8>, links: &dyn Links) -> Result<()> {
    let mut numbers = hashbrown::HashMap::with_hasher(RandomState::new());
    let mut open: Vec<Writing> = Vec::new();
    for (i, value) in values.iter().enumerate() {
        let result = encode_one(Slot::from_value(value.clone()), out, links, &mut numbers, &mut open);
        result.map_err(|e| at_place(e, &format!("argument {}", i + 1), &open))?;
    }
    Ok(())
}

/// The error with the place in the value at which it happened.
fn at_place(error: Error, root: &str, open: &[Writing]) -> Error {
    let path = crate::path::path(root, open.iter().map(|w| w.place.clone().into_value(&w.table.graph)));
    Error::new(error.kind(), format!("{} ({path})", error.message()))
}

type Numbers = hashbrown::HashMap<(usize, u32), u32, RandomState>;

fn encode_one(
    first: Slot,
    out: &mut Vec<u8>,
    links: &dyn Links,
    numbers: &mut Numbers,
    open: &mut Vec<Writing>,
) -> Result<()> {
    put_slot(&first, None, out, links, numbers, open)?;
    loop {
        let Some(top) = open.last_mut() else {
            return Ok(());
        };
        let table = top.table.clone();
        let node = table.own_node();
        let slot = if let Some(value) = top.value.take() {
            value
        } else if let Some(slot) = node.array().get(top.array) {
            top.array += 1;
            top.place = Slot::Integer(top.array as i64);
            slot.clone()
        } else if let Some((next, key, value)) = node.hash().and_then(|h| h.next_from(top.hash)) {
            top.hash = next;
            top.value = Some(value.clone());
            top.place = key.clone();
            key.clone()
        } else {
            open.pop();
            continue;
        };
        put_slot(&slot, Some(&table), out, links, numbers, open)?;
    }
}

/// Writes one slot of a table of `owner`'s graph; a table is only begun.
fn put_slot(
    slot: &Slot,
    owner: Option<&Table>,
    out: &mut Vec<u8>,
    links: &dyn Links,
    numbers: &mut Numbers,
    open: &mut Vec<Writing>,
) -> Result<()> {
    let table = match (slot, owner) {
        (Slot::Node(n), Some(owner)) => Table::of_graph(&owner.graph, *n),
        (Slot::Table(table), _) => table.clone(),
        (Slot::Function(function), _) => return put_function(out, function, links),
        _ => return put_plain(out, slot, links),
    };
    if let Some(number) = numbers.get(&table.identity()) {
        put_u32(out, tag::SEEN, *number);
        return Ok(());
    }
    let number = u32::try_from(numbers.len()).map_err(|_| Error::conversion("too many tables in one value"))?;
    numbers.insert(table.identity(), number);
    let count = |n: usize| u32::try_from(n).map_err(|_| Error::conversion("a table has too many entries"));
    let node = table.own_node();
    put_u32(out, tag::TABLE, count(node.array().len())?);
    out.extend_from_slice(&count(node.hash_len())?.to_le_bytes());
    open.push(Writing { table, array: 0, hash: 0, value: None, place: Slot::Nil });
    Ok(())
}

fn put_function(out: &mut Vec<u8>, function: &Function, links: &dyn Links) -> Result<()> {
    if let Some(number) = links.number_of(function) {
        put_u32(out, tag::HANDLE, number);
        return Ok(());
    }
    match &*function.0 {
        FunctionKind::Live(handle) => put_u32(out, tag::HANDLE, links.handle_of(handle)?),
        FunctionKind::Bytecode(code) => put_bytes(out, tag::FUNCTION, code.as_bytes())?,
        FunctionKind::Builtin(builtin) => put_bytes(out, tag::BUILTIN, builtin.name.as_bytes())?,
        FunctionKind::Stored(table) => put_u32(out, tag::STORED_FUNCTION, links.id_of(table)?),
    }
    Ok(())
}

/// Writes a function or a view of a stored table.
pub(crate) fn put_reference(out: &mut Vec<u8>, slot: &Slot, links: &dyn Links) -> Result<()> {
    match slot {
        Slot::Function(function) => put_function(out, function, links),
        _ => put_plain(out, slot, links),
    }
}

/// Writes a value for a store. A table by value does not come here: it was given an id before.
pub(crate) fn encode_stored(slot: &Slot, out: &mut Vec<u8>, links: &dyn Links) -> Result<()> {
    match slot {
        Slot::Function(function) => match &*function.0 {
            FunctionKind::Live(_) => {
                Err(Error::conversion("a function of the running sandbox can only be stored by a script"))
            }
            _ => put_function(out, function, links),
        },
        _ => put_plain(out, slot, links),
    }
}

/// Writes a reference to a stored table.
pub(crate) fn encode_reference(id: u32, out: &mut Vec<u8>) {
    put_u32(out, tag::EXTERNAL, id);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A sandbox that knows no tables and no functions.
    struct Nothing;

    impl Links for Nothing {
        fn stored(&self, _: u32, _: bool) -> StoredTable {
            StoredTable::detached()
        }
        fn handle(&self, _: u32) -> Function {
            self.builtin(LuaString::default())
        }
        fn builtin(&self, name: LuaString) -> Function {
            Function::detached(name)
        }
        fn id_of(&self, _: &StoredTable) -> Result<u32> {
            Ok(7)
        }
        fn handle_of(&self, _: &crate::value::Handle) -> Result<u32> {
            Ok(7)
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let plain = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::Boolean),
            any::<i64>().prop_map(Value::Integer),
            any::<f64>().prop_filter("NaN equals nothing", |x| !x.is_nan()).prop_map(Value::Float),
            prop::collection::vec(any::<u8>(), 0..30).prop_map(|b| Value::String(b.into())),
            "[a-z.]{1,12}".prop_map(|name| Value::Function(Nothing.builtin(name.into()))),
        ];
        plain.prop_recursive(5, 60, 8, |inner| {
            let entries = prop::collection::vec((any::<bool>(), inner.clone(), inner), 0..8);
            entries.prop_map(|entries| {
                let mut table = Table::new();
                for (push, key, value) in entries {
                    if push {
                        table.push(value);
                    } else if !matches!(key, Value::Table(_)) {
                        let _ = table.set(key, value);
                    }
                }
                Value::Table(table)
            })
        })
    }

    proptest! {
        #[test]
        fn values_survive(values in prop::collection::vec(values(), 0..5)) {
            let mut bytes = Vec::new();
            encode_args(&values, &mut bytes, &Nothing).unwrap();
            prop_assert_eq!(decode(&bytes, &Nothing).unwrap(), values);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, &Nothing);
            references(&bytes, &mut |_| {});
        }

        #[test]
        fn likely_bytes_are_read_or_refused(bytes in prop::collection::vec(0u8..13, 0..200)) {
            if let Ok(values) = decode(&bytes, &Nothing) {
                // What was read can be written, and reads back the same.
                let mut again = Vec::new();
                encode_args(&values, &mut again, &Nothing).unwrap();
                decode(&again, &Nothing).unwrap();
            }
        }

        #[test]
        fn what_is_cut_short_is_refused(values in prop::collection::vec(values(), 1..4), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            encode_args(&values, &mut bytes, &Nothing).unwrap();
            bytes.truncate(cut.index(bytes.len()));
            if let Ok(fewer) = decode(&bytes, &Nothing) {
                prop_assert!(fewer.len() < values.len());
            }
        }
    }

    #[test]
    fn references_are_found_wherever_they_stand() {
        let bytes = [
            &[tag::TABLE, 2, 0, 0, 0, 1, 0, 0, 0][..],
            &[tag::EXTERNAL, 5, 0, 0, 0],
            &[tag::STRING, 5, 0, 0, 0, 7, 9, 9, 9, 9],
            &[tag::BOOLEAN, 1],
            &[tag::STORED_FUNCTION, 6, 0, 0, 0],
            &[tag::STORED_UPVALUE, 7, 0, 0, 0],
        ]
        .concat();
        let mut found = Vec::new();
        references(&bytes, &mut |id| found.push(id));
        assert_eq!(found, [5, 6, 7]);
    }
}
