//! Bytes to values.

use std::sync::Arc;

use super::reader::{Reader, malformed, unknown_tag};
use super::{Resolver, shape_of, tag};
use crate::value::host_values::HostValue;
use crate::value::{Error, ErrorKind, Function, FunctionKind, Graph, LuaString, Node, Result, Shape, Slot, Value};

/// A table that is being read.
struct Open {
    node: u32,
    array_left: u32,
    pairs_left: u32,
    key: Option<Slot>,
}

struct Decoder<'a> {
    reader: Reader<'a>,
    resolver: &'a dyn Resolver,
    graph: Graph,
    open: Vec<Open>,
    /// Values that open tables still announce; each takes at least a byte.
    announced: u64,
    /// What tables and references may still take as values.
    room: usize,
}

/// What a pair takes in a table, in its list and in its index, which is never quite full.
const PAIR: usize = 2 * size_of::<Slot>() + 24;

/// What the host holds for a function, or for a view of a stored table, and the place of each in a list of results.
const REFERENCE: usize = 64 + 2 * size_of::<Slot>();

impl Decoder<'_> {
    fn take(&mut self, size: usize) -> Result<()> {
        self.room = self.room.checked_sub(size).ok_or_else(too_large)?;
        Ok(())
    }

    /// The value behind a tag that refers to something, or the head of a table.
    fn reference(&mut self, tag: u8) -> Result<Slot> {
        let slot = match tag {
            tag::FUNCTION => {
                let code = LuaString::new(self.reader.bytes()?);
                Slot::Value(Value::Function(Function(Arc::new(FunctionKind::Bytecode(code)))))
            }
            tag::BUILTIN => {
                let name = LuaString::new(self.reader.bytes()?);
                Slot::Value(Value::Function(self.resolver.builtin(name)))
            }
            tag::EXTERNAL => Slot::Value(Value::StoredTable(self.resolver.stored(self.id()?, false))),
            tag::BACKREF => {
                let number = self.reader.u32()?;
                if number as usize >= self.graph.len() {
                    return Err(malformed("it refers to a table that is not there"));
                }
                Slot::Node(number)
            }
            tag::HANDLE => Slot::Value(Value::Function(self.resolver.handle(self.reader.u32()?))),
            tag::HOST_FUNCTION => {
                let number = self.reader.u32()?;
                host_value(self.resolver.host_value(number))?
            }
            tag::HOST_OBJECT => {
                let (number, class) = (self.reader.u32()?, self.reader.u32()?);
                host_value(self.resolver.host_object(number, class))?
            }
            tag::STORED_FUNCTION => {
                let table = self.resolver.stored(self.id()?, false);
                Slot::Value(Value::Function(Function(Arc::new(FunctionKind::Stored(table)))))
            }
            tag::STORED_UPVALUE => Slot::Value(Value::StoredTable(self.resolver.stored(self.id()?, true))),
            other => self.table(shape_of(other).ok_or_else(|| unknown_tag(other))?)?,
        };
        // Once it is there: when it is too much it is let go like any other.
        if !matches!(slot, Slot::Node(_)) {
            self.take(REFERENCE)?;
        }
        Ok(slot)
    }

    fn id(&mut self) -> Result<u32> {
        match self.reader.u32()? {
            0 => Err(malformed("a table with id 0")),
            id => Ok(id),
        }
    }

    fn table(&mut self, shape: Shape) -> Result<Slot> {
        let array_left = self.reader.u32()?;
        let pairs_left = self.reader.u32()?;
        self.announced += u64::from(array_left) + 2 * u64::from(pairs_left);
        if self.announced > self.reader.0.rest.len() as u64 {
            return Err(malformed("a table announces more than there is"));
        }
        // A table takes more here than it does as bytes, an empty one ten times as much.
        let size = size_of::<Node>() + size_of::<Slot>() * array_left as usize + PAIR * pairs_left as usize;
        self.take(size)?;
        let node = self.graph.add(Node::with_capacity(array_left as usize, pairs_left as usize, shape))?;
        self.open.push(Open { node, array_left, pairs_left, key: None });
        Ok(Slot::Node(node))
    }

    /// Fills the innermost table up to a value that refers to something, whose tag it gives; `None` when it is whole.
    fn fill_plain(&mut self) -> Result<Option<u8>> {
        let Some(open) = self.open.last_mut() else { return Ok(None) };
        let Some(node) = self.graph.node_mut(open.node) else { return Ok(None) };
        while open.array_left > 0 || open.key.is_some() {
            self.announced -= 1;
            let tag = self.reader.u8()?;
            let Some(plain) = self.reader.plain(tag)? else { return Ok(Some(tag)) };
            open.deliver(node, plain.into())?;
        }
        while open.pairs_left > 0 {
            self.announced -= 1;
            let tag = self.reader.u8()?;
            let Some(key) = self.reader.plain(tag)? else { return Ok(Some(tag)) };
            let key = Slot::from(key).into_key().ok_or_else(nil_key)?;
            self.announced -= 1;
            let tag = self.reader.u8()?;
            let Some(value) = self.reader.plain(tag)? else {
                open.key = Some(key);
                return Ok(Some(tag));
            };
            open.pairs_left -= 1;
            if node.set(key, value.into()) {
                return Err(same_key());
            }
        }
        Ok(None)
    }

    /// One whole value.
    fn value(&mut self) -> Result<Slot> {
        let tag = self.reader.u8()?;
        let root = match self.reader.plain(tag)? {
            Some(plain) => plain.into(),
            None => self.reference(tag)?,
        };
        while let Some(at) = self.open.len().checked_sub(1) {
            let Some(tag) = self.fill_plain()? else {
                self.open.pop();
                continue;
            };
            // May open a table, which is filled first.
            let slot = self.reference(tag)?;
            if let Some(open) = self.open.get_mut(at)
                && let Some(node) = self.graph.node_mut(open.node)
            {
                open.deliver(node, slot)?;
            }
        }
        Ok(root)
    }
}

fn host_value(value: Option<HostValue>) -> Result<Slot> {
    match value {
        Some(HostValue::Function(function)) => Ok(Slot::Value(Value::Function(function))),
        Some(HostValue::Object(object)) => Ok(Slot::Value(Value::Object(object))),
        None => Err(malformed("a function or object of the host that is not there")),
    }
}

fn too_large() -> Error {
    Error::new(
        ErrorKind::Memory,
        "not enough memory for so many tables and functions in the host: memory_limit covers these too",
    )
}

fn nil_key() -> Error {
    malformed("a table with a nil or NaN key")
}

/// One of the values would be lost.
#[cold]
fn same_key() -> Error {
    Error::conversion("two entries of a table have the same key in Lua, such as text and the same bytes")
}

impl Open {
    /// Puts a value where the table wants it.
    #[inline]
    fn deliver(&mut self, node: &mut Node, slot: Slot) -> Result<()> {
        if self.array_left > 0 {
            self.array_left -= 1;
            node.push_raw(slot);
            if self.array_left == 0 {
                node.finish_array();
            }
        } else if let Some(key) = self.key.take() {
            self.pairs_left -= 1;
            if node.set(key, slot) {
                return Err(same_key());
            }
        } else {
            self.key = Some(slot.into_key().ok_or_else(nil_key)?);
        }
        Ok(())
    }
}

/// All values of a message, when they are such that need no looking after: what calls mostly pass.
#[inline]
pub(crate) fn decode_simple(bytes: &[u8], values: &mut Vec<Value>) -> Option<()> {
    let mut reader = Reader::new(bytes);
    values.reserve(bytes.len() / 9 + 1);
    while let Some((tag, rest)) = reader.0.rest.split_first() {
        reader.0.rest = rest;
        values.push(reader.plain(*tag).ok()??.into());
    }
    Some(())
}

/// All values of a message.
#[inline]
pub(crate) fn decode(bytes: &[u8], resolver: &dyn Resolver) -> Result<Vec<Value>> {
    let mut values = Vec::new();
    decode_into(bytes, resolver, &mut values).map(|_| values)
}

/// Replaces what is in the list by all values of a message. What they take beside the bytes of their strings.
#[inline]
pub(crate) fn decode_into(bytes: &[u8], resolver: &dyn Resolver, values: &mut Vec<Value>) -> Result<usize> {
    values.clear();
    if decode_simple(bytes, values).is_some() {
        return Ok(0);
    }
    let (decoded, size) = decode_any(bytes, resolver)?;
    *values = decoded;
    Ok(size)
}

fn decode_any(bytes: &[u8], resolver: &dyn Resolver) -> Result<(Vec<Value>, usize)> {
    let room = resolver.room();
    let mut decoder =
        Decoder { reader: Reader::new(bytes), resolver, graph: Graph::new(), open: Vec::new(), announced: 0, room };
    let mut slots = Vec::new();
    while !decoder.reader.0.rest.is_empty() {
        match decoder.value() {
            Ok(slot) => slots.push(slot),
            Err(error) => {
                // The guest holds functions in a message for whoever reads it.
                decoder.reader.numbers_of(&[tag::HANDLE], |id| drop(resolver.handle(id)));
                return Err(error);
            }
        }
    }
    let (graph, size) = (Arc::new(decoder.graph), room - decoder.room);
    Ok((slots.into_iter().map(|slot| slot.into_value(&graph)).collect(), size))
}
