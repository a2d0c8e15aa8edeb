//! Bytes to values.

use std::sync::Arc;

use super::reader::{Reader, malformed, unknown_tag};
use super::{Links, tag};
use crate::Result;
use crate::value::{Function, FunctionKind, Graph, LuaString, Node, Slot, Value};

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
            other => return Err(unknown_tag(other)),
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
