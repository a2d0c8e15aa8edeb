//! Values to bytes.

use ahash::RandomState;
use hashbrown::HashMap;

use super::reader::Reader;
use super::{Resolver, table_tag, tag};
use crate::value::host_values::HostValue;
use crate::value::{Error, Function, FunctionKind, Object, Result, Shape, Slot, Table, Value};

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
fn put_plain(out: &mut Vec<u8>, slot: &Slot, resolver: &dyn Resolver) -> Result<()> {
    let Slot::Value(value) = slot else {
        out.push(tag::NIL);
        return Ok(());
    };
    match value {
        Value::Nil | Value::Table(_) | Value::Function(_) | Value::Object(_) => out.push(tag::NIL),
        Value::Null => out.push(if resolver.takes_shapes() { tag::NULL } else { tag::NIL }),
        Value::Boolean(b) => put_boolean(out, *b),
        Value::Integer(n) => put_number(out, tag::INTEGER, n.to_le_bytes()),
        Value::Float(x) => put_number(out, tag::FLOAT, x.to_le_bytes()),
        Value::String(s) => put_bytes(out, tag::STRING, s.as_bytes())?,
        Value::StoredTable(table) => {
            let kind = if table.is_cell() { tag::STORED_UPVALUE } else { tag::EXTERNAL };
            put_u32(out, kind, resolver.id_of(table)?);
        }
    }
    Ok(())
}

/// A table that is being written.
struct Writing {
    table: Table,
    /// How many slots of the array part are written.
    array: usize,
    /// The pair that is being written, as a position for [`Node::pair_from`](crate::value::Node::pair_from).
    pair: usize,
    /// The position after it; 0 before the first pair.
    next_pair: usize,
    /// Whether of the pair only the key is written.
    value_is_next: bool,
}

/// Tables that were written, by identity, with the numbers by which later values refer to them.
type Numbers = HashMap<(usize, u32), u32, RandomState>;

/// Writes arguments for the guest; tables inline.
#[inline]
pub(crate) fn encode_args(values: &[Value], out: &mut Vec<u8>, resolver: &dyn Resolver) -> Result<()> {
    let start = out.len();
    if encode_simple(values, out) {
        return Ok(());
    }
    out.truncate(start);
    encode_any(values, out, resolver)
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

fn encode_any(values: &[Value], out: &mut Vec<u8>, resolver: &dyn Resolver) -> Result<()> {
    let start = out.len();
    let mut numbers = Numbers::with_hasher(RandomState::new());
    let mut open: Vec<Writing> = Vec::new();
    for (i, value) in values.iter().enumerate() {
        let result = encode_one(Slot::Value(value.clone()), out, resolver, &mut numbers, &mut open);
        if let Err(error) = result {
            // The message is not sent.
            let sent = out.get(start..).unwrap_or_default();
            Reader::new(sent).numbers_of(&[tag::HOST_FUNCTION, tag::HOST_OBJECT], |number| resolver.take_back(number));
            return Err(at_place(error, &format!("argument {}", i + 1), &open));
        }
    }
    Ok(())
}

/// The error with the place in the value at which it happened.
fn at_place(error: Error, root: &str, open: &[Writing]) -> Error {
    let path = crate::value::path::path(root, open.iter().map(Writing::place));
    Error::new(error.kind(), format!("{} ({path})", error.message()))
}

fn encode_one(
    first: Slot,
    out: &mut Vec<u8>,
    resolver: &dyn Resolver,
    numbers: &mut Numbers,
    open: &mut Vec<Writing>,
) -> Result<()> {
    put_slot(&first, None, out, resolver, numbers, open)?;
    while let Some(top) = open.last_mut() {
        // Most slots are neither tables nor functions: they are written from where they are.
        let Some(slot) = top.write_plain(out, resolver)? else {
            open.pop();
            continue;
        };
        let owner = top.table.clone();
        put_slot(&slot, Some(&owner), out, resolver, numbers, open)?;
    }
    Ok(())
}

impl Writing {
    fn new(table: Table) -> Self {
        Writing { table, array: 0, pair: 0, next_pair: 0, value_is_next: false }
    }

    /// Writes slots up to a table or function, which it gives; `None` at the end.
    fn write_plain(&mut self, out: &mut Vec<u8>, resolver: &dyn Resolver) -> Result<Option<Slot>> {
        let node = self.table.own_node();
        loop {
            let slot = if let Some(slot) = node.array().get(self.array) {
                self.array += 1;
                slot
            } else if self.value_is_next {
                self.value_is_next = false;
                let Some((_, _, value)) = node.pair_from(self.pair) else { return Ok(None) };
                value
            } else {
                let Some((next, key, _)) = node.pair_from(self.next_pair) else { return Ok(None) };
                (self.pair, self.next_pair, self.value_is_next) = (self.next_pair, next, true);
                key
            };
            match slot {
                Slot::Node(_) | Slot::Value(Value::Table(_) | Value::Function(_) | Value::Object(_)) => {
                    return Ok(Some(slot.clone()));
                }
                _ => put_plain(out, slot, resolver)?,
            }
        }
    }

    /// The key of what is being written, for messages.
    fn place(&self) -> Value {
        let key = match self.next_pair {
            0 => Slot::Value(Value::Integer(self.array as i64)),
            _ => self.table.own_node().pair_from(self.pair).map(|(_, key, _)| key.clone()).unwrap_or_default(),
        };
        key.into_value(&self.table.graph)
    }
}

/// Writes one slot of a table of `owner`'s graph; a table is only begun.
fn put_slot(
    slot: &Slot,
    owner: Option<&Table>,
    out: &mut Vec<u8>,
    resolver: &dyn Resolver,
    numbers: &mut Numbers,
    open: &mut Vec<Writing>,
) -> Result<()> {
    let table = match (slot, owner) {
        (Slot::Node(n), Some(owner)) => Table::of_graph(&owner.graph, *n),
        (Slot::Value(Value::Table(table)), _) => table.clone(),
        (Slot::Value(Value::Function(function)), _) => return put_function(out, function, resolver),
        (Slot::Value(Value::Object(object)), _) => return put_object(out, object, resolver),
        _ => return put_plain(out, slot, resolver),
    };
    if let Some(number) = numbers.get(&table.identity()) {
        put_u32(out, tag::BACKREF, *number);
        return Ok(());
    }
    let number = u32::try_from(numbers.len()).map_err(|_| Error::conversion("too many tables in one value"))?;
    numbers.insert(table.identity(), number);
    let count = |n: usize| u32::try_from(n).map_err(|_| Error::conversion("a table has too many entries"));
    let node = table.own_node();
    let shape = if resolver.takes_shapes() { node.shape } else { Shape::Unknown };
    put_u32(out, table_tag(shape), count(node.array().len())?);
    out.extend_from_slice(&count(node.hash_len())?.to_le_bytes());
    open.push(Writing::new(table));
    Ok(())
}

fn put_function(out: &mut Vec<u8>, function: &Function, resolver: &dyn Resolver) -> Result<()> {
    if let Some(number) = resolver.number_of(function) {
        put_u32(out, tag::HANDLE, number);
        return Ok(());
    }
    match &*function.0 {
        FunctionKind::Live(handle) => put_u32(out, tag::HANDLE, resolver.handle_of(handle)?),
        FunctionKind::Bytecode(code) => put_bytes(out, tag::FUNCTION, code.as_bytes())?,
        FunctionKind::Builtin(builtin) => put_bytes(out, tag::BUILTIN, builtin.name.as_bytes())?,
        FunctionKind::Stored(table) => put_u32(out, tag::STORED_FUNCTION, resolver.id_of(table)?),
        FunctionKind::Host(_) => {
            put_u32(out, tag::HOST_FUNCTION, resolver.give(HostValue::Function(function.clone()))?)
        }
    }
    Ok(())
}

fn put_object(out: &mut Vec<u8>, object: &Object, resolver: &dyn Resolver) -> Result<()> {
    put_u32(out, tag::HOST_OBJECT, resolver.give(HostValue::Object(object.clone()))?);
    out.extend_from_slice(&object.0.class.number.to_le_bytes());
    Ok(())
}

/// Writes a function, an object or a view of a stored table.
pub(crate) fn put_reference(out: &mut Vec<u8>, slot: &Slot, resolver: &dyn Resolver) -> Result<()> {
    match slot {
        Slot::Value(Value::Function(function)) => put_function(out, function, resolver),
        Slot::Value(Value::Object(object)) => put_object(out, object, resolver),
        _ => put_plain(out, slot, resolver),
    }
}

/// Writes a value for a store. A table by value does not come here: it was given an id before.
pub(crate) fn encode_stored(slot: &Slot, out: &mut Vec<u8>, resolver: &dyn Resolver) -> Result<()> {
    match slot {
        Slot::Value(Value::Function(function)) => match &*function.0 {
            FunctionKind::Live(_) => {
                Err(Error::conversion("a function of the running sandbox can only be stored by a script"))
            }
            FunctionKind::Host(_) => Err(Error::conversion("a function of the host can't be stored")),
            _ => put_function(out, function, resolver),
        },
        Slot::Value(Value::Object(object)) => {
            Err(Error::conversion(format!("a {} of the host can't be stored", object.class_name())))
        }
        _ => put_plain(out, slot, resolver),
    }
}

/// Writes a reference to a stored table.
pub(crate) fn encode_reference(id: u32, out: &mut Vec<u8>) {
    put_u32(out, tag::EXTERNAL, id);
}
