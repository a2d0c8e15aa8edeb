//! Values as bytes, for bindings that can make their language's values faster from bytes than by a call for each value.
//!
//! The bytes are those of `docs/MEMORY_PROTOCOL.md`, except that functions (0x0A) and stored tables (0x07) are numbers
//! that the binding hands out and takes back, and that functions (0x0E) and objects (0x0F) of the language are numbers
//! of its own: see [`Handles`].
//!
//! ```
//! use luacell::{Value, wire};
//!
//! let values = [Value::from(1), Value::from(vec!["a", "b"])];
//! let mut bytes = Vec::new();
//! wire::encode(&values, &mut bytes, &wire::NoHandles)?;
//! assert_eq!(wire::decode(&bytes, &wire::NoHandles)?, values);
//! # Ok::<(), luacell::Error>(())
//! ```

use std::cell::Cell;

use crate::value::codec::{self, Resolver};
use crate::value::host_values::HostValue;
use crate::value::{Error, ErrorKind, Function, Handle, LuaString, Object, Result, StoredTable, Value};

/// Keeps functions and stored tables for the other side of the border, by number.
pub trait Handles {
    /// Keeps a function and returns its number.
    fn keep_function(&self, function: &Function) -> u32;
    /// The function with that number, if it is still kept.
    fn function(&self, number: u32) -> Option<Function>;
    /// Keeps a view of a stored table and returns its number.
    fn keep_table(&self, table: &StoredTable) -> u32;
    /// The view with that number, if it is still kept.
    fn table(&self, number: u32) -> Option<StoredTable>;
    /// The number by which the other side knows a function that is its own, see
    /// [`of_language`](Function::of_language). It is not kept then.
    fn own_number(&self, function: &Function) -> Option<u32> {
        let _ = function;
        None
    }
    /// The function that the other side knows by this number, as its own.
    fn own_function(&self, number: u32) -> Option<Function> {
        let _ = number;
        None
    }
    /// The number by which the other side knows an object that is its own, see [`LanguageClass`](crate::LanguageClass).
    fn own_object_number(&self, object: &Object) -> Option<u32> {
        let _ = object;
        None
    }
    /// The object that the other side knows by this number, as its own, and the number that it wrote for the class.
    fn own_object(&self, number: u32, class: u32) -> Option<Object> {
        let _ = (number, class);
        None
    }
}

/// A [`Handles`] for values without functions and stored tables; if there are any, they can't be read back.
#[derive(Clone, Copy, Debug)]
pub struct NoHandles;

impl Handles for NoHandles {
    fn keep_function(&self, _: &Function) -> u32 {
        u32::MAX
    }
    fn function(&self, _: u32) -> Option<Function> {
        None
    }
    fn keep_table(&self, _: &StoredTable) -> u32 {
        u32::MAX
    }
    fn table(&self, _: u32) -> Option<StoredTable> {
        None
    }
}

struct HandleResolver<'a> {
    handles: &'a dyn Handles,
    /// Whether a number was not known.
    unknown: Cell<bool>,
}

impl Resolver for HandleResolver<'_> {
    fn stored(&self, id: u32, _: bool) -> StoredTable {
        self.handles.table(id).unwrap_or_else(|| {
            self.unknown.set(true);
            StoredTable::detached()
        })
    }

    fn handle(&self, id: u32) -> Function {
        self.handles.function(id).unwrap_or_else(|| {
            self.unknown.set(true);
            self.builtin(LuaString::default())
        })
    }

    fn builtin(&self, name: LuaString) -> Function {
        Function::detached(name)
    }

    fn id_of(&self, table: &StoredTable) -> Result<u32> {
        Ok(self.handles.keep_table(table))
    }

    fn handle_of(&self, _: &Handle) -> Result<u32> {
        Err(Error::internal("a function was not given to the handles"))
    }

    fn host_value(&self, number: u32) -> Option<HostValue> {
        self.handles.own_function(number).map(HostValue::Function)
    }

    fn host_object(&self, number: u32, class: u32) -> Option<HostValue> {
        self.handles.own_object(number, class).map(HostValue::Object)
    }

    fn give(&self, value: HostValue) -> Result<u32> {
        let number = match &value {
            HostValue::Function(function) => self.handles.own_number(function),
            HostValue::Object(object) => self.handles.own_object_number(object),
        };
        number.ok_or_else(|| Error::conversion("this value of the host can't be passed here"))
    }

    fn number_of(&self, function: &Function) -> Option<u32> {
        match self.handles.own_number(function) {
            Some(_) => None,
            None => Some(self.handles.keep_function(function)),
        }
    }
}

/// Appends values as bytes.
///
/// # Errors
/// `Conversion` for what is too large: 4 GiB in one string.
pub fn encode(values: &[Value], out: &mut Vec<u8>, handles: &dyn Handles) -> Result<()> {
    codec::encode_args(values, out, &HandleResolver { handles, unknown: Cell::new(false) })
}

/// The values that these bytes encode.
///
/// # Errors
/// `InvalidArgument` for bytes that are not values; `Closed` for a function or table that the handles no longer keep.
pub fn decode(bytes: &[u8], handles: &dyn Handles) -> Result<Vec<Value>> {
    let resolver = HandleResolver { handles, unknown: Cell::new(false) };
    let values = codec::decode(bytes, &resolver);
    // First, because two that are unknown may make a table that has no meaning, such as one with the same key twice.
    if resolver.unknown.get() {
        return Err(Error::new(ErrorKind::Closed, "a function or table that was passed has already been released"));
    }
    values.map_err(|_| Error::invalid("these bytes are not encoded values"))
}
