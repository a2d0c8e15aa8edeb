//! What the library calls. Answers come from the input, and host functions go on with its calls.

use std::ffi::{c_char, c_void};
use std::ptr::null_mut;

use luacell_ffi::error::*;
use luacell_ffi::pointers::luacell_bytes;
use luacell_ffi::sink::{luacell_sink, luacell_sink_put};
use luacell_ffi::status::{LUACELL_OK, luacell_status};
use luacell_ffi::value::*;

use crate::machine::{ALIVE, checked, machine, read};
use crate::op::Op;
use crate::run;

/// Userdata that has to be ended once.
pub fn userdata() -> *mut c_void {
    ALIVE.set(ALIVE.get() + 1);
    Box::into_raw(Box::new(1u64)).cast()
}

pub unsafe extern "C" fn finalizer(userdata: *mut c_void) {
    ALIVE.set(ALIVE.get() - 1);
    drop(unsafe { Box::from_raw(userdata.cast::<u64>()) });
}

pub fn alive(userdata: *mut c_void) {
    assert_eq!(unsafe { userdata.cast::<u64>().read() }, 1);
}

pub unsafe extern "C" fn on_print(userdata: *mut c_void, text: *const c_char, len: usize) {
    alive(userdata);
    read(luacell_bytes { data: text, len });
}

pub fn next_answer() -> u8 {
    machine(|m| m.answers.pop_front().unwrap_or(0))
}

/// Most callbacks succeed.
pub fn answered(error: *mut *mut luacell_error) -> luacell_status {
    match next_answer() {
        250.. => 12,
        240..250 => {
            unsafe { error.write(luacell_error_new(c"no".as_ptr(), 2, userdata(), Some(finalizer))) }
            i32::from(next_answer())
        }
        _ => LUACELL_OK,
    }
}

pub fn put(sink: *mut luacell_sink) {
    let bytes: Vec<u8> = (0..next_answer() % 12).map(|_| next_answer()).collect();
    let mut error = null_mut();
    let status = unsafe { luacell_sink_put(sink, bytes.as_ptr().cast(), bytes.len(), &raw mut error) };
    assert_eq!(status == LUACELL_OK, error.is_null());
    unsafe { luacell_error_free(error) }
}

pub unsafe extern "C" fn find_module(
    userdata: *mut c_void,
    name: *const c_char,
    len: usize,
    source: *mut luacell_sink,
    error: *mut *mut luacell_error,
) -> luacell_status {
    alive(userdata);
    read(luacell_bytes { data: name, len });
    for _ in 0..next_answer() % 3 {
        put(source);
    }
    answered(error)
}

pub unsafe extern "C" fn store_get(
    userdata: *mut c_void,
    _: u32,
    key: *const c_char,
    len: usize,
    value: *mut luacell_sink,
    error: *mut *mut luacell_error,
) -> luacell_status {
    alive(userdata);
    read(luacell_bytes { data: key, len });
    for _ in 0..next_answer() % 3 {
        put(value);
    }
    answered(error)
}

pub unsafe extern "C" fn store_set(
    userdata: *mut c_void,
    _: u32,
    key: *const c_char,
    key_len: usize,
    value: *const c_char,
    value_len: usize,
    error: *mut *mut luacell_error,
) -> luacell_status {
    alive(userdata);
    read(luacell_bytes { data: key, len: key_len });
    read(luacell_bytes { data: value, len: value_len });
    answered(error)
}

pub unsafe extern "C" fn store_remove(
    userdata: *mut c_void,
    _: u32,
    key: *const c_char,
    len: usize,
    error: *mut *mut luacell_error,
) -> luacell_status {
    alive(userdata);
    read(luacell_bytes { data: key, len });
    answered(error)
}

pub unsafe extern "C" fn store_count(
    userdata: *mut c_void,
    _: u32,
    count: *mut u64,
    error: *mut *mut luacell_error,
) -> luacell_status {
    alive(userdata);
    let answer = next_answer();
    unsafe { count.write(if answer > 250 { u64::MAX } else { u64::from(answer) }) }
    answered(error)
}

pub unsafe extern "C" fn store_keys(
    userdata: *mut c_void,
    _: u32,
    keys: *mut luacell_sink,
    error: *mut *mut luacell_error,
) -> luacell_status {
    alive(userdata);
    for _ in 0..next_answer() % 4 {
        put(keys);
    }
    answered(error)
}

/// Goes on with the calls until one of them says what it answers.
pub unsafe extern "C" fn host_function(
    userdata: *mut c_void,
    args: *const luacell_values,
    results: *mut luacell_values,
    error: *mut *mut luacell_error,
) -> luacell_status {
    alive(userdata);
    for position in 0..unsafe { luacell_values_len(args) } {
        let copy = unsafe { luacell_value_clone(luacell_values_get(args, position)) };
        machine(|m| m.values.keep(copy));
    }
    if machine(|m| m.depth) > 3 {
        return LUACELL_OK;
    }
    machine(|m| m.depth += 1);
    let mut status = LUACELL_OK;
    while let Some(op) = machine(|m| m.ops.pop_front()) {
        let Op::Answer(how, slot) = op else {
            run(op);
            continue;
        };
        status = match how % 8 {
            0 => 2,
            1 => 99,
            2 => {
                unsafe { error.write(luacell_error_raise(object!(values, slot))) }
                2
            }
            3 => {
                unsafe { error.write(machine(|m| m.errors.take(slot))) }
                10
            }
            4 => {
                call!(luacell_values_push(results, object!(values, slot)));
                call!(luacell_values_push(results, luacell_values_get(results, 0)));
                LUACELL_OK
            }
            _ => LUACELL_OK,
        };
        break;
    }
    machine(|m| m.depth -= 1);
    status
}
