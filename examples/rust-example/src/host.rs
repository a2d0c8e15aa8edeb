//! The five functions that `lua.wasm` imports.
//!
//! Every number that arrives here was chosen by the guest and is not to be trusted: a pointer or length that does not
//! fit gives -1, nothing panics, nothing outside the guest's memory is touched.

use wasmtime::{Caller, Extern, Linker};

use crate::requests::Requests;
use crate::tables::Tables;
use crate::vm::Revision;

/// What the host functions work on; it lives in wasmtime's `Store`.
pub(crate) struct HostState {
    pub tables: Tables,
    pub revision: Revision,
    pub requests: Requests,
}

const FAILURE: i32 = -1;

/// Makes the five functions known to `linker`.
pub(crate) fn define(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.func_wrap("env", "js_ext_table_set", set)?;
    linker.func_wrap("env", "js_ext_table_get", get)?;
    linker.func_wrap("env", "js_ext_table_delete", delete)?;
    linker.func_wrap("env", "js_ext_table_size", size)?;
    linker.func_wrap("env", "js_ext_table_keys", keys)?;
    Ok(())
}

fn set(mut caller: Caller<'_, HostState>, id: u32, key: u32, key_len: u32, value: u32, value_len: u32) -> i32 {
    let Some((memory, state)) = memory_and_state(&mut caller) else { return FAILURE };
    let (Some(key), Some(value)) = (text(memory, key, key_len), bytes(memory, value, value_len)) else {
        return FAILURE;
    };
    if id == 0 {
        return FAILURE;
    }
    state.tables.set(id, key, value);
    0
}

fn get(mut caller: Caller<'_, HostState>, id: u32, key: u32, key_len: u32, value: u32, max_len: u32) -> i32 {
    let Some((memory, state)) = memory_and_state(&mut caller) else { return FAILURE };
    if id == 0 {
        return channel(memory, state, (key, key_len), (value, max_len));
    }
    let Some(found) = text(memory, key, key_len).and_then(|key| state.tables.get(id, key)) else { return FAILURE };
    answer(memory, value, max_len, found, state.revision)
}

/// What the guest asks of the host itself, which begins with revision 3 here.
fn channel(memory: &mut [u8], state: &mut HostState, request: (u32, u32), room: (u32, u32)) -> i32 {
    let request = bytes(memory, request.0, request.1).filter(|_| state.revision >= Revision::Three);
    let Some(said) = request.and_then(|request| state.requests.handle(request)) else { return FAILURE };
    answer(memory, room.0, room.1, said, state.revision)
}

fn delete(mut caller: Caller<'_, HostState>, id: u32, key: u32, key_len: u32) -> i32 {
    let Some((memory, state)) = memory_and_state(&mut caller) else { return FAILURE };
    match text(memory, key, key_len) {
        Some(key) if state.tables.delete(id, key) => 0,
        _ => FAILURE,
    }
}

fn size(caller: Caller<'_, HostState>, id: u32) -> i32 {
    i32::try_from(caller.data().tables.size(id)).unwrap_or(i32::MAX)
}

fn keys(mut caller: Caller<'_, HostState>, id: u32, buffer: u32, max_len: u32) -> i32 {
    let Some((memory, state)) = memory_and_state(&mut caller) else { return FAILURE };
    let Some(keys) = state.tables.keys(id) else { return FAILURE };
    answer(memory, buffer, max_len, keys.join("\n").as_bytes(), state.revision)
}

/// The guest's memory as it is now, since it may have grown since the last call, and our state beside it.
fn memory_and_state<'a>(caller: &'a mut Caller<'_, HostState>) -> Option<(&'a mut [u8], &'a mut HostState)> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory)?;
    Some(memory.data_and_store_mut(caller))
}

/// The place `ptr` to `ptr + len`; slices refuse to reach outside.
fn range(ptr: u32, len: u32) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(ptr).ok()?;
    Some(start..start.checked_add(usize::try_from(len).ok()?)?)
}

fn bytes(memory: &[u8], ptr: u32, len: u32) -> Option<&[u8]> {
    memory.get(range(ptr, len)?)
}

/// Keys are UTF-8; what is not is no key.
fn text(memory: &[u8], ptr: u32, len: u32) -> Option<&str> {
    std::str::from_utf8(bytes(memory, ptr, len)?).ok()
}

/// Copies an answer into the guest's buffer. Revision 2 tells how much room it takes.
fn answer(memory: &mut [u8], ptr: u32, max_len: u32, answer: &[u8], revision: Revision) -> i32 {
    let Some(room) = range(ptr, max_len).and_then(|range| memory.get_mut(range)) else { return FAILURE };
    let Ok(len) = i32::try_from(answer.len()) else { return FAILURE };
    match room.get_mut(..answer.len()) {
        Some(place) => {
            place.copy_from_slice(answer);
            len
        }
        None if revision >= Revision::Two => len.checked_neg().and_then(|n| n.checked_sub(1)).unwrap_or(FAILURE),
        None => FAILURE,
    }
}
