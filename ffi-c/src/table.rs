//! Tables, by value and stored, and tables that refer to each other.

use std::ffi::c_char;

use luacell::{LuaString, Result, TableBuilder, TableRef, Value};

use crate::error::luacell_error;
use crate::guard;
use crate::pointers::{Opaque, Place, borrow, borrow_mut, bytes, from_raw, into_raw, invalid};
use crate::status::luacell_status;
use crate::value::{any_value, luacell_value, luacell_values, not_a};

fn get(table: &Value, key: Value) -> Result<Value> {
    match table {
        Value::Table(table) => Ok(table.get(key)),
        Value::StoredTable(table) => table.get(key),
        other => Err(not_a("table", other)),
    }
}

fn set(table: &mut Value, key: Value, value: Value) -> Result<()> {
    match table {
        Value::Table(table) => table.set(key, value),
        Value::StoredTable(table) => table.set(key, value),
        other => Err(not_a("table", other)),
    }
}

/// Reads the value under a key; nil if there is none. The value belongs to the caller. Works for a table by value and
/// a stored one, from which tables come as stored ones. LUACELL_CONVERSION when `table` is no table, or for a key that
/// stored tables can't have.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_table_get(
    table: *const luacell_value,
    key: *const luacell_value,
    value: *mut *mut luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let (table, place) = (borrow(table, "table")?, Place::new(value, "value")?);
        place.give(get(table, any_value(key))?);
        Ok(())
    })
}

/// As luacell_table_get with a string as the key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_table_get_field(
    table: *const luacell_value,
    name: *const c_char,
    name_len: usize,
    value: *mut *mut luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let (table, place) = (borrow(table, "table")?, Place::new(value, "value")?);
        place.give(get(table, LuaString::new(bytes(name, name_len, "name")?).into())?);
        Ok(())
    })
}

/// Puts a copy of a value under a key; nil removes the key. Writing to a stored table is a transaction of its own,
/// within a host function a part of the script's run. LUACELL_INVALID_ARGUMENT for nil or NaN as the key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_table_set(
    table: *mut luacell_value,
    key: *const luacell_value,
    value: *const luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let (key, value) = (any_value(key), any_value(value));
        set(borrow_mut(table, "table")?, key, value)
    })
}

/// As luacell_table_set with a string as the key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_table_set_field(
    table: *mut luacell_value,
    name: *const c_char,
    name_len: usize,
    value: *const luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let (key, value) = (LuaString::new(bytes(name, name_len, "name")?), any_value(value));
        set(borrow_mut(table, "table")?, key.into(), value)
    })
}

/// Appends a copy of a value to a table by value: under the key after its last one from 1. nil appends nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_table_push(
    table: *mut luacell_value,
    value: *const luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let value = any_value(value);
        match borrow_mut(table, "table")? {
            Value::Table(table) => {
                table.push(value);
                Ok(())
            }
            other => Err(not_a("table by value", other)),
        }
    })
}

/// Counts all entries of a table.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_table_count(
    table: *const luacell_value,
    count: *mut usize,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let (table, place) = (borrow(table, "table")?, Place::new(count, "count")?);
        place.put(match table {
            Value::Table(table) => table.count(),
            Value::StoredTable(table) => table.len()?,
            other => return Err(not_a("table", other)),
        });
        Ok(())
    })
}

/// All entries of a table as they are at this moment: key, value, key, value, ... The list belongs to the caller.
/// Tables in a stored table come as stored ones.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_table_entries(
    table: *const luacell_value,
    entries: *mut *mut luacell_values,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let (table, place) = (borrow(table, "table")?, Place::new(entries, "entries")?);
        place.give(match table {
            Value::Table(table) => table.pairs().flat_map(|(key, value)| [key, value]).collect(),
            Value::StoredTable(table) => table.iter()?.flat_map(|(key, value)| [key, value]).collect(),
            other => return Err(not_a("table", other)),
        });
        Ok(())
    })
}

/// A deep copy of a table as a table by value, of a stored one taken at one moment; shared tables and cycles are kept.
/// Belongs to the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_table_copy(
    table: *const luacell_value,
    copy: *mut *mut luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let (table, place) = (borrow(table, "table")?, Place::new(copy, "copy")?);
        place.give(match table {
            Value::Table(table) => table.clone().into(),
            Value::StoredTable(table) => table.to_table()?.into(),
            other => return Err(not_a("table", other)),
        });
        Ok(())
    })
}

/// Removes all entries of a table.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_table_clear(
    table: *mut luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || match borrow_mut(table, "table")? {
        Value::Table(table) => {
            *table = luacell::Table::new();
            Ok(())
        }
        Value::StoredTable(table) => table.clear(),
        other => Err(not_a("table", other)),
    })
}

/// Makes tables that refer to each other: shared ones, cycles, tables as keys. Tables are named by numbers while they
/// are built.
pub struct luacell_table_builder {
    _private: (),
}

#[derive(Default)]
pub(crate) struct Builder {
    builder: TableBuilder,
    tables: Vec<TableRef>,
}

impl Builder {
    fn table(&self, number: u32) -> Result<TableRef> {
        let table = self.tables.get(number as usize).copied();
        table.ok_or_else(|| invalid(format!("the builder has no table {number}")))
    }
}

impl Opaque for luacell_table_builder {
    type Behind = Builder;
}

/// A new builder without tables; to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn luacell_table_builder_new() -> *mut luacell_table_builder {
    guard::plain(std::ptr::null_mut(), || into_raw(Builder::default()))
}

/// Ends a builder. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_table_builder_free(builder: *mut luacell_table_builder) {
    guard::plain((), || drop(from_raw(builder)));
}

/// Adds an empty table; its number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_table_builder_add(
    builder: *mut luacell_table_builder,
    table: *mut u32,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let (builder, place) = (borrow_mut(builder, "builder")?, Place::new(table, "table")?);
        let number = u32::try_from(builder.tables.len()).map_err(|_| invalid("too many tables"))?;
        builder.tables.push(builder.builder.table());
        place.put(number);
        Ok(())
    })
}

/// Puts a copy of a value under a key of a table.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_table_builder_set(
    builder: *mut luacell_table_builder,
    table: u32,
    key: *const luacell_value,
    value: *const luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let builder = borrow_mut(builder, "builder")?;
        builder.builder.set(builder.table(table)?, any_value(key), any_value(value))
    })
}

/// Puts one of the builder's tables under a key of another, or of itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_table_builder_set_table(
    builder: *mut luacell_table_builder,
    table: u32,
    key: *const luacell_value,
    inner: u32,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let builder = borrow_mut(builder, "builder")?;
        builder.builder.set_table(builder.table(table)?, any_value(key), builder.table(inner)?)
    })
}

/// Puts a copy of a value under a key that is one of the builder's tables.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_table_builder_set_with_table_key(
    builder: *mut luacell_table_builder,
    table: u32,
    key: u32,
    value: *const luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let builder = borrow_mut(builder, "builder")?;
        builder.builder.set_with_table_key(builder.table(table)?, builder.table(key)?, any_value(value))
    })
}

/// The table with everything that it refers to, as a value that belongs to the caller. The builder is empty afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_table_builder_finish(
    builder: *mut luacell_table_builder,
    table: u32,
    value: *mut *mut luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let (builder, place) = (borrow_mut(builder, "builder")?, Place::new(value, "value")?);
        let table = builder.table(table)?;
        place.give(std::mem::take(builder).builder.finish(table).into());
        Ok(())
    })
}
