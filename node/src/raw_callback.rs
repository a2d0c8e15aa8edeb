//! The call that runs most scripts, as a raw callback of Node-API. For each of its own callbacks, napi-rs records on
//! the heap and behind a lock what the callback borrows from JavaScript. This one borrows nothing, and takes three
//! quarters of the time.

#![allow(
    unsafe_code,
    reason = "Node-API is a C interface; what is called here gets the env and the values of the present call"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use napi::bindgen_prelude::{FromNapiValue, JsError, JsObjectValue, Object, ToNapiValue, Unknown};
use napi::{Env, Error, Result, Status, sys};
use napi_derive::napi;

use crate::hot_calls;

/// Adds to what the module exports: `compute(sandbox: number, source: string): unknown`.
#[napi(module_exports)]
pub fn export_raw_callbacks(mut exports: Object<'_>, env: Env) -> Result<()> {
    let name = c"compute";
    let mut function = null_mut();
    // SAFETY: the name is text that ends with a zero.
    let status = unsafe {
        sys::napi_create_function(
            env.raw(),
            name.as_ptr(),
            name.count_bytes() as isize,
            Some(compute),
            null_mut(),
            &mut function,
        )
    };
    check(status)?;
    // SAFETY: the function was just made in this env.
    let function = unsafe { Unknown::from_napi_value(env.raw(), function)? };
    exports.set_named_property("compute", function)
}

fn check(status: sys::napi_status) -> Result<()> {
    match status {
        sys::Status::napi_ok => Ok(()),
        status => Err(Error::from_status(Status::from(status))),
    }
}

/// Runs text in the sandbox in a slot.
unsafe extern "C" fn compute(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // A panic may not go on into C.
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut args = [null_mut(); 2];
        let mut count = args.len();
        // SAFETY: there is room for as many arguments as are asked for.
        check(unsafe { sys::napi_get_cb_info(env, info, &mut count, args.as_mut_ptr(), null_mut(), null_mut()) })?;
        let [sandbox, source] = args;
        let mut slot = 0;
        // SAFETY: what is missing among the arguments is `undefined`.
        check(unsafe { sys::napi_get_value_uint32(env, sandbox, &mut slot) })?;
        // SAFETY: the same.
        unsafe {
            with_text(env, source, |source| {
                let out = hot_calls::compute(slot, source);
                <crate::value::ToJs as ToNapiValue>::to_napi_value(env, out)
            })
        }
    }));
    let error = match result {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => error,
        Err(_) => Error::from_reason("luacell has a defect: the call ended with a panic"),
    };
    // SAFETY: the env of this call.
    unsafe { JsError::from(error).throw_into(env) };
    null_mut()
}

/// Where short text is read to; else its length is asked for first.
const SHORT: usize = 256;

/// Calls `body` with text as UTF-8.
///
/// # Safety
/// The value is one of the present call in this env.
unsafe fn with_text<T>(env: sys::napi_env, value: sys::napi_value, body: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
    let mut text = [0u8; SHORT];
    let mut written = 0;
    // SAFETY: at most the whole of `text` is written to.
    let status = unsafe { sys::napi_get_value_string_utf8(env, value, text.as_mut_ptr().cast(), SHORT, &mut written) };
    // What is cut off ends before a character that would not have fitted, of up to four bytes, and a zero.
    match text.get(..written) {
        Some(text) if status == sys::Status::napi_ok && written + 4 < SHORT => body(text),
        // SAFETY: the same env and value.
        _ => body(unsafe { String::from_napi_value(env, value)? }.as_bytes()),
    }
}
