//! Values and lists of values.

use std::ffi::c_char;

use luacell::{Error, ErrorKind, LuaString, Result, Table, Value};

use crate::error::luacell_error;
use crate::guard;
use crate::pointers::{Opaque, Place, borrow, borrow_mut, bytes, from_raw, into_raw, invalid, luacell_bytes, view};
use crate::status::luacell_status;

/// A Lua value: plain data that outlives its sandbox and may move between threads, except that a function can only be
/// called, and a stored table only be used, while the sandbox lives. Used by one thread at a time while somebody
/// changes it.
pub struct luacell_value {
    _private: (),
}

impl Opaque for luacell_value {
    type Behind = Value;
}

/// Values in a row: arguments, results, the keys and values of a table.
pub struct luacell_values {
    _private: (),
}

impl Opaque for luacell_values {
    type Behind = Vec<Value>;
}

/// The type of a value. Later versions may add some.
pub type luacell_type = i32;

/// nil; NULL in place of a value is nil too.
pub const LUACELL_TYPE_NIL: luacell_type = 0;
/// true or false
pub const LUACELL_TYPE_BOOLEAN: luacell_type = 1;
/// An integer. 3 and 3.0 are different values.
pub const LUACELL_TYPE_INTEGER: luacell_type = 2;
/// A float.
pub const LUACELL_TYPE_FLOAT: luacell_type = 3;
/// A string: any bytes.
pub const LUACELL_TYPE_STRING: luacell_type = 4;
/// A table by value.
pub const LUACELL_TYPE_TABLE: luacell_type = 5;
/// A live view of a table in the sandbox's store.
pub const LUACELL_TYPE_STORED_TABLE: luacell_type = 6;
/// A function.
pub const LUACELL_TYPE_FUNCTION: luacell_type = 7;
/// An object of the host.
pub const LUACELL_TYPE_OBJECT: luacell_type = 8;
/// json.null: a value where a table could not hold nil.
pub const LUACELL_TYPE_NULL: luacell_type = 9;

/// A value that the caller lends, NULL being nil.
pub(crate) unsafe fn any_value(pointer: *const luacell_value) -> Value {
    borrow(pointer, "value").cloned().unwrap_or_default()
}

/// Values that the caller lends, NULL being none.
pub(crate) unsafe fn any_values<'a>(pointer: *const luacell_values) -> &'a [Value] {
    borrow(pointer, "values").map_or(&[], Vec::as_slice)
}

fn new(make: impl FnOnce() -> Value) -> *mut luacell_value {
    guard::plain(std::ptr::null_mut(), || into_raw(make()))
}

/// A new nil; to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn luacell_value_new_nil() -> *mut luacell_value {
    new(|| Value::Nil)
}

/// A new json.null; to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn luacell_value_new_null() -> *mut luacell_value {
    new(|| Value::Null)
}

/// A new boolean; to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn luacell_value_new_boolean(boolean: bool) -> *mut luacell_value {
    new(|| boolean.into())
}

/// A new integer; to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn luacell_value_new_integer(integer: i64) -> *mut luacell_value {
    new(|| integer.into())
}

/// A new float; to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn luacell_value_new_float(number: f64) -> *mut luacell_value {
    new(|| number.into())
}

/// A new string with a copy of these bytes; to be freed. NULL when `data` is NULL and `len` is not 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_value_new_string(data: *const c_char, len: usize) -> *mut luacell_value {
    let Ok(bytes) = bytes(data, len, "data") else {
        return std::ptr::null_mut();
    };
    new(|| LuaString::new(bytes).into())
}

/// A new empty table; to be freed. luacell_table_set and its like fill it; luacell_table_builder makes tables that
/// refer to each other.
#[unsafe(no_mangle)]
pub extern "C" fn luacell_value_new_table() -> *mut luacell_value {
    new(|| Table::new().into())
}

/// A copy, cheap whatever the value; to be freed. Changing one does not show in the other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_value_clone(value: *const luacell_value) -> *mut luacell_value {
    new(|| any_value(value))
}

/// Ends a value that belongs to the caller. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_value_free(value: *mut luacell_value) {
    guard::plain((), || drop(from_raw(value)));
}

/// The type of a value: one of LUACELL_TYPE_...
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_value_type(value: *const luacell_value) -> luacell_type {
    match borrow(value, "value") {
        Ok(Value::Boolean(_)) => LUACELL_TYPE_BOOLEAN,
        Ok(Value::Integer(_)) => LUACELL_TYPE_INTEGER,
        Ok(Value::Float(_)) => LUACELL_TYPE_FLOAT,
        Ok(Value::String(_)) => LUACELL_TYPE_STRING,
        Ok(Value::Table(_)) => LUACELL_TYPE_TABLE,
        Ok(Value::StoredTable(_)) => LUACELL_TYPE_STORED_TABLE,
        Ok(Value::Function(_)) => LUACELL_TYPE_FUNCTION,
        Ok(Value::Object(_)) => LUACELL_TYPE_OBJECT,
        Ok(Value::Null) => LUACELL_TYPE_NULL,
        _ => LUACELL_TYPE_NIL,
    }
}

/// Writes a part of the value, if it is of that type.
unsafe fn read<'a, T>(
    value: *const luacell_value,
    result: *mut T,
    error: *mut *mut luacell_error,
    wanted: &str,
    part: impl FnOnce(&'a Value) -> Option<T>,
) -> luacell_status {
    guard::status(error, || {
        const NIL: &Value = &Value::Nil;
        let (value, place) = (borrow(value, "value").unwrap_or(NIL), Place::new(result, "result")?);
        place.put(part(value).ok_or_else(|| not_a(wanted, value))?);
        Ok(())
    })
}

pub(crate) fn not_a(wanted: &str, value: &Value) -> Error {
    let message = match value {
        Value::Integer(n) if wanted == "number" => format!("{n} does not fit a float"),
        _ => format!("{wanted} expected, got {}", value.type_name()),
    };
    Error::new(ErrorKind::Conversion, message)
}

/// Reads a boolean. LUACELL_CONVERSION if the value is not one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_value_to_boolean(
    value: *const luacell_value,
    result: *mut bool,
    error: *mut *mut luacell_error,
) -> luacell_status {
    read(value, result, error, "boolean", Value::as_bool)
}

/// Reads an integer, also a float that has no fraction. LUACELL_CONVERSION if the value is not one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_value_to_integer(
    value: *const luacell_value,
    result: *mut i64,
    error: *mut *mut luacell_error,
) -> luacell_status {
    read(value, result, error, "integer", Value::as_integer)
}

/// Reads a number as a float. LUACELL_CONVERSION if the value is not one, or an integer that a float does not hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_value_to_number(
    value: *const luacell_value,
    result: *mut f64,
    error: *mut *mut luacell_error,
) -> luacell_status {
    read(value, result, error, "number", Value::as_number)
}

/// Reads a string; the bytes belong to the value. LUACELL_CONVERSION if the value is not one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_value_to_string(
    value: *const luacell_value,
    result: *mut luacell_bytes,
    error: *mut *mut luacell_error,
) -> luacell_status {
    read(value, result, error, "string", |value| value.as_bytes().map(luacell_bytes::of))
}

/// The name of a built-in function, such as "string.format", or of a host function, when a stored one was read;
/// otherwise `data` is NULL. Belongs to the value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_value_builtin_name(value: *const luacell_value) -> luacell_bytes {
    let name = borrow(value, "value").ok().and_then(Value::as_function).and_then(luacell::Function::builtin_name);
    name.map(|name| luacell_bytes::of(name.as_bytes())).unwrap_or_default()
}

/// Whether two values are equal by content. Tables are compared deeply, cycles included; 3 and 3.0 differ, and NaN
/// equals nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_value_equal(a: *const luacell_value, b: *const luacell_value) -> bool {
    guard::plain(false, || any_value(a) == any_value(b))
}

/// Whether two values are one and the same table: of one result or one built table, or of one store. False for
/// everything else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_value_same_table(a: *const luacell_value, b: *const luacell_value) -> bool {
    match (borrow(a, "a"), borrow(b, "b")) {
        (Ok(Value::Table(a)), Ok(Value::Table(b))) => a.identity() == b.identity(),
        (Ok(Value::StoredTable(a)), Ok(Value::StoredTable(b))) => a == b,
        _ => false,
    }
}

/// A new empty list; to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn luacell_values_new() -> *mut luacell_values {
    guard::plain(std::ptr::null_mut(), || into_raw(Vec::new()))
}

/// Ends a list that belongs to the caller, with what is in it. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_values_free(values: *mut luacell_values) {
    guard::plain((), || drop(from_raw(values)));
}

/// How many values there are; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_values_len(values: *const luacell_values) -> usize {
    any_values(values).len()
}

/// The value at a position, from 0; NULL, which is nil to all functions here, beyond the last. Belongs to the list, and
/// is valid until the list is changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_values_get(values: *const luacell_values, position: usize) -> *const luacell_value {
    any_values(values).get(position).map_or(std::ptr::null(), view)
}

/// Appends to a list.
unsafe fn push(
    values: *mut luacell_values,
    error: *mut *mut luacell_error,
    value: impl FnOnce() -> Result<Value>,
) -> luacell_status {
    guard::status(error, || {
        // First: the value may be one of the list's.
        let value = value()?;
        borrow_mut(values, "values")?.push(value);
        Ok(())
    })
}

/// Appends a copy of a value; NULL appends nil.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_values_push(
    values: *mut luacell_values,
    value: *const luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    push(values, error, || Ok(any_value(value)))
}

/// Appends nil.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_values_push_nil(
    values: *mut luacell_values,
    error: *mut *mut luacell_error,
) -> luacell_status {
    push(values, error, || Ok(Value::Nil))
}

/// Appends a boolean.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_values_push_boolean(
    values: *mut luacell_values,
    boolean: bool,
    error: *mut *mut luacell_error,
) -> luacell_status {
    push(values, error, || Ok(boolean.into()))
}

/// Appends an integer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_values_push_integer(
    values: *mut luacell_values,
    integer: i64,
    error: *mut *mut luacell_error,
) -> luacell_status {
    push(values, error, || Ok(integer.into()))
}

/// Appends a float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_values_push_float(
    values: *mut luacell_values,
    number: f64,
    error: *mut *mut luacell_error,
) -> luacell_status {
    push(values, error, || Ok(number.into()))
}

/// Appends a string with a copy of these bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_values_push_string(
    values: *mut luacell_values,
    data: *const c_char,
    len: usize,
    error: *mut *mut luacell_error,
) -> luacell_status {
    push(values, error, || Ok(LuaString::new(bytes(data, len, "data")?).into()))
}

/// Puts a copy of a value in the place of another, at a position from 0; NULL is nil.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_values_set(
    values: *mut luacell_values,
    position: usize,
    value: *const luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        // The value may be the one in that place.
        let value = any_value(value);
        let list = borrow_mut(values, "values")?;
        let len = list.len();
        let place = list.get_mut(position);
        let place = place.ok_or_else(|| invalid(format!("there is no position {position} in a list of {len}")))?;
        *place = value;
        Ok(())
    })
}
