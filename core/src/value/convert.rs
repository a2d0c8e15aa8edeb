//! Between values and common Rust types.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};

use super::{Function, LuaString, Object, Shape, Table, Value};
use crate::value::{CallArgs, Error, Result, StoredTable};

macro_rules! value_from {
    ($($type:ty => $make:expr;)+) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                let make: fn($type) -> Value = $make;
                make(value)
            }
        }
    )+};
}

value_from! {
    () => |()| Value::Nil;
    bool => Value::Boolean;
    i8 => |n| Value::Integer(n.into());
    i16 => |n| Value::Integer(n.into());
    i32 => |n| Value::Integer(n.into());
    i64 => Value::Integer;
    u8 => |n| Value::Integer(n.into());
    u16 => |n| Value::Integer(n.into());
    u32 => |n| Value::Integer(n.into());
    f32 => |x| Value::Float(x.into());
    f64 => Value::Float;
    &str => |s| Value::String(s.into());
    &String => |s| Value::String(s.as_str().into());
    String => |s| Value::String(s.into());
    LuaString => Value::String;
    &LuaString => |s| Value::String(s.clone());
    &[u8] => |s| Value::String(s.into());
    Table => Value::Table;
    &Table => |t| Value::Table(t.clone());
    StoredTable => Value::StoredTable;
    &StoredTable => |t| Value::StoredTable(t.clone());
    Function => Value::Function;
    &Function => |f| Value::Function(f.clone());
    Object => Value::Object;
    &Object => |o| Value::Object(o.clone());
    &Value => |v| v.clone();
}

/// A string of these bytes.
impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        Value::String(bytes.into())
    }
}

/// `Conversion` for what does not fit Lua's 64-bit signed integers.
impl TryFrom<u64> for Value {
    type Error = Error;
    fn try_from(n: u64) -> Result<Self> {
        i64::try_from(n).map(Value::Integer).map_err(|_| Error::conversion(format!("{n} does not fit a Lua integer")))
    }
}

/// `Conversion` for what does not fit Lua's 64-bit signed integers.
impl TryFrom<usize> for Value {
    type Error = Error;
    fn try_from(n: usize) -> Result<Self> {
        Value::try_from(n as u64)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Nil, Into::into)
    }
}

/// A sequence. For a string of bytes go through [`LuaString`].
impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Value::Table(values.into_iter().collect())
    }
}

/// A sequence.
impl<T: Into<Value>, const N: usize> From<[T; N]> for Value {
    fn from(values: [T; N]) -> Self {
        Value::Table(values.into_iter().collect())
    }
}

fn from_pairs<K: Into<Value>, V: Into<Value>>(pairs: impl IntoIterator<Item = (K, V)>) -> Value {
    let mut table = Table::new().with_shape(Shape::Map);
    for (key, value) in pairs {
        // A key that Lua does not have (NaN) has no place in a table.
        let _ = table.set(key, value);
    }
    Value::Table(table)
}

/// A table; entries with a NaN or nil key are left out.
impl<K: Into<Value>, V: Into<Value>, S: BuildHasher> From<HashMap<K, V, S>> for Value {
    fn from(map: HashMap<K, V, S>) -> Self {
        from_pairs(map)
    }
}

/// A table; entries with a NaN or nil key are left out.
impl<K: Into<Value>, V: Into<Value>> From<BTreeMap<K, V>> for Value {
    fn from(map: BTreeMap<K, V>) -> Self {
        from_pairs(map)
    }
}

/// Rust types that a [`Value`] can become.
pub trait FromValue: Sized {
    /// The value as this type.
    ///
    /// # Errors
    /// `Conversion` if it does not fit.
    fn from_value(value: Value) -> Result<Self>;

    /// This type as the only parameter of a host function.
    #[doc(hidden)]
    #[inline]
    fn from_only_parameter(mut args: CallArgs<'_>) -> Result<Self> {
        args.parameter()
    }

    /// A `Vec` of this type as the only parameter of a host function.
    #[doc(hidden)]
    #[inline]
    fn list_from_only_parameter(mut args: CallArgs<'_>) -> Result<Vec<Self>> {
        args.parameter()
    }
}

fn mismatch<T>(expected: &str, value: &Value) -> Result<T> {
    Err(Error::conversion(format!("expected {expected}, got {}", value.type_name())))
}

impl FromValue for Value {
    #[inline]
    fn from_value(value: Value) -> Result<Self> {
        Ok(value)
    }

    /// All arguments, of any number.
    #[inline]
    fn list_from_only_parameter(args: CallArgs<'_>) -> Result<Vec<Self>> {
        Ok(args.collect())
    }
}

impl FromValue for () {
    #[inline]
    fn from_value(value: Value) -> Result<Self> {
        match value {
            Value::Nil | Value::Null => Ok(()),
            other => mismatch("nil", &other),
        }
    }

    /// No parameter at all.
    #[inline]
    fn from_only_parameter(_: CallArgs<'_>) -> Result<Self> {
        Ok(())
    }
}

impl FromValue for bool {
    #[inline]
    fn from_value(value: Value) -> Result<Self> {
        match value {
            Value::Boolean(b) => Ok(b),
            other => mismatch("a boolean", &other),
        }
    }
}

macro_rules! integer_from_value {
    ($($type:ty)+) => {$(
        impl FromValue for $type {
            /// From an integer in range, or a float with an integer value in range.
            #[inline]
            fn from_value(value: Value) -> Result<Self> {
                match value.as_integer() {
                    Some(n) => <$type>::try_from(n).map_err(|_| {
                        Error::conversion(format!("{n} does not fit {}", stringify!($type)))
                    }),
                    None => mismatch("an integer", &value),
                }
            }
        }
        impl TryFrom<Value> for $type {
            type Error = Error;
            fn try_from(value: Value) -> Result<Self> {
                FromValue::from_value(value)
            }
        }
    )+};
}

integer_from_value!(i8 i16 i32 i64 u8 u16 u32 u64 isize usize);

impl FromValue for f64 {
    #[inline]
    fn from_value(value: Value) -> Result<Self> {
        match value.as_number() {
            Some(x) => Ok(x),
            None => match value {
                Value::Integer(n) => Err(Error::conversion(format!("{n} does not fit f64"))),
                other => mismatch("a number", &other),
            },
        }
    }
}

impl FromValue for String {
    #[inline]
    fn from_value(value: Value) -> Result<Self> {
        match value {
            Value::String(s) => match s.as_str() {
                Some(text) => Ok(text.to_owned()),
                None => Err(Error::conversion("expected text, got a string that is not valid UTF-8")),
            },
            other => mismatch("a string", &other),
        }
    }
}

impl FromValue for LuaString {
    #[inline]
    fn from_value(value: Value) -> Result<Self> {
        match value {
            Value::String(s) => Ok(s),
            other => mismatch("a string", &other),
        }
    }
}

impl FromValue for Table {
    /// From a table by value, or a stored one, which is copied deeply.
    #[inline]
    fn from_value(value: Value) -> Result<Self> {
        match value {
            Value::Table(t) => Ok(t),
            Value::StoredTable(t) => t.to_table(),
            other => mismatch("a table", &other),
        }
    }
}

impl FromValue for StoredTable {
    #[inline]
    fn from_value(value: Value) -> Result<Self> {
        match value {
            Value::StoredTable(t) => Ok(t),
            other => mismatch("a stored table", &other),
        }
    }
}

impl FromValue for Function {
    #[inline]
    fn from_value(value: Value) -> Result<Self> {
        match value {
            Value::Function(f) => Ok(f),
            other => mismatch("a function", &other),
        }
    }
}

impl FromValue for Object {
    #[inline]
    fn from_value(value: Value) -> Result<Self> {
        match value {
            Value::Object(object) => Ok(object),
            other => mismatch("an object", &other),
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    #[inline]
    fn from_value(value: Value) -> Result<Self> {
        match value {
            Value::Nil | Value::Null => Ok(None),
            other => T::from_value(other).map(Some),
        }
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    /// From a sequence, or an empty table.
    #[inline]
    fn from_value(value: Value) -> Result<Self> {
        let table = Table::from_value(value)?;
        if !table.is_empty() && !table.is_list() {
            return Err(Error::conversion("expected a sequence, got a table with other keys"));
        }
        table.sequence().map(T::from_value).collect()
    }

    #[inline]
    fn from_only_parameter(args: CallArgs<'_>) -> Result<Self> {
        T::list_from_only_parameter(args)
    }
}

impl<K: FromValue + Eq + Hash, V: FromValue, S: BuildHasher + Default> FromValue for HashMap<K, V, S> {
    #[inline]
    fn from_value(value: Value) -> Result<Self> {
        let table = Table::from_value(value)?;
        table.pairs().map(|(k, v)| Ok((K::from_value(k)?, V::from_value(v)?))).collect()
    }
}

impl<K: FromValue + Ord, V: FromValue> FromValue for BTreeMap<K, V> {
    #[inline]
    fn from_value(value: Value) -> Result<Self> {
        let table = Table::from_value(value)?;
        table.pairs().map(|(k, v)| Ok((K::from_value(k)?, V::from_value(v)?))).collect()
    }
}

macro_rules! try_from_value {
    ($($type:ty)+) => {$(
        impl TryFrom<Value> for $type {
            type Error = Error;
            fn try_from(value: Value) -> Result<Self> {
                FromValue::from_value(value)
            }
        }
    )+};
}

try_from_value!(() bool f64 String LuaString Table StoredTable Function Object);

/// What can be passed as arguments or returned as a host function's results: a single value, or several as a tuple, an
/// array, a `Vec`, or a slice of values; `()` for none.
pub trait IntoArgs {
    /// Appends the values to the list, in order.
    fn push_args(self, list: &mut Vec<Value>);

    /// The values, in order.
    fn into_args(self) -> Vec<Value>
    where
        Self: Sized,
    {
        let mut list = Vec::new();
        self.push_args(&mut list);
        list
    }
}

impl<T: Into<Value>> IntoArgs for Vec<T> {
    #[inline]
    fn push_args(self, list: &mut Vec<Value>) {
        list.extend(self.into_iter().map(Into::into));
    }
}

impl<T: Into<Value>, const N: usize> IntoArgs for [T; N] {
    #[inline]
    fn push_args(self, list: &mut Vec<Value>) {
        list.extend(self.into_iter().map(Into::into));
    }
}

impl IntoArgs for &[Value] {
    #[inline]
    fn push_args(self, list: &mut Vec<Value>) {
        list.extend_from_slice(self);
    }
}

impl IntoArgs for &Vec<Value> {
    #[inline]
    fn push_args(self, list: &mut Vec<Value>) {
        list.extend_from_slice(self);
    }
}

impl IntoArgs for () {
    #[inline]
    fn push_args(self, _: &mut Vec<Value>) {}
}

macro_rules! single_args {
    ($($type:ty)+) => {$(
        impl IntoArgs for $type {
            #[inline]
            fn push_args(self, list: &mut Vec<Value>) {
                list.push(self.into());
            }
        }
    )+};
}

single_args!(bool i8 i16 i32 i64 u8 u16 u32 f32 f64 &str &String String LuaString Value Table StoredTable);
single_args!(Function &Function Object &Object);

impl<T: Into<Value>> IntoArgs for Option<T> {
    #[inline]
    fn push_args(self, list: &mut Vec<Value>) {
        list.push(self.into());
    }
}

macro_rules! tuple_args {
    ($($name:ident)+) => {
        impl<$($name: Into<Value>),+> IntoArgs for ($($name,)+) {
            #[allow(non_snake_case, reason = "type parameters double as variable names")]
            #[inline]
            fn push_args(self, list: &mut Vec<Value>) {
                let ($($name,)+) = self;
                list.extend([$($name.into()),+]);
            }
        }
    };
}

tuple_args!(A);
tuple_args!(A B);
tuple_args!(A B C);
tuple_args!(A B C D);
tuple_args!(A B C D E);
tuple_args!(A B C D E F);
tuple_args!(A B C D E F G);
tuple_args!(A B C D E F G H);
