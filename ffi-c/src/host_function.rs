//! Functions of the host that Lua calls.

use std::ffi::{c_char, c_void};

use luacell::{Result, Sandbox, Value};

use crate::error::luacell_error;
use crate::pointers::{Userdata, callback_result, invalid, luacell_finalizer, text, view};
use crate::sandbox::{luacell_sandbox, with};
use crate::status::luacell_status;
use crate::value::luacell_values;

/// A function of the host that Lua can call. `args` belongs to the library; results are appended to `results`.
///
/// It returns LUACELL_OK, or any other status with an error in `*error` that then belongs to the library: made by
/// luacell_error_new or luacell_error_raise, or what another call of this library gave. The error is raised in the
/// script; when the script does not catch it, the run fails with LUACELL_HOST_FUNCTION, or with the status of a run
/// inside the function whose error it was.
///
/// It runs on the thread that runs the script, and may use the sandbox: run code, call functions, read and write
/// tables. All of that is part of the script's run. It must return: neither longjmp nor a C++ exception may leave it.
pub type luacell_host_function = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        args: *const luacell_values,
        results: *mut luacell_values,
        error: *mut *mut luacell_error,
    ) -> luacell_status,
>;

/// Makes a function callable from Lua, as the global of that name. Dots put it into tables, which are created if they
/// are missing. A function that had the name before is replaced. It stays when the sandbox is reset. The finalizer runs
/// when the sandbox no longer needs the function, and if this call fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_register(
    sandbox: *mut luacell_sandbox,
    name: *const c_char,
    name_len: usize,
    function: luacell_host_function,
    userdata: *mut c_void,
    finalizer: luacell_finalizer,
    error: *mut *mut luacell_error,
) -> luacell_status {
    let userdata = Userdata::new(userdata, finalizer);
    with(sandbox, error, |sandbox| {
        let call = adapter(function, userdata)?;
        Sandbox::register(sandbox, text(name, name_len, "name")?, call)
    })
}

/// Like luacell_register, for a function that may be called again when a run is repeated after a conflict, for example
/// because it only looks something up.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_register_repeatable(
    sandbox: *mut luacell_sandbox,
    name: *const c_char,
    name_len: usize,
    function: luacell_host_function,
    userdata: *mut c_void,
    finalizer: luacell_finalizer,
    error: *mut *mut luacell_error,
) -> luacell_status {
    let userdata = Userdata::new(userdata, finalizer);
    with(sandbox, error, |sandbox| {
        let call = adapter(function, userdata)?;
        Sandbox::register_repeatable(sandbox, text(name, name_len, "name")?, call)
    })
}

pub(crate) fn adapter(
    function: luacell_host_function,
    userdata: Userdata,
) -> Result<impl Fn(Vec<Value>) -> Result<Vec<Value>> + Send + Sync + 'static> {
    let function = function.ok_or_else(|| invalid("function is NULL"))?;
    Ok(move |args: Vec<Value>| {
        let mut results = Vec::new();
        callback_result("the host function", |error| {
            let (args, results) = (view::<luacell_values>(&args), (&raw mut results).cast());
            // SAFETY: the header demands that the function can be called so.
            unsafe { function(userdata.pointer(), args, results, error) }
        })?;
        Ok(results)
    })
}

/// Removes a host function: the global goes away, and scripts that kept the function get an error when they call it.
/// `was_there` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_unregister(
    sandbox: *mut luacell_sandbox,
    name: *const c_char,
    name_len: usize,
    was_there: *mut bool,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| {
        let found = sandbox.unregister(text(name, name_len, "name")?)?;
        if !was_there.is_null() {
            was_there.write(found);
        }
        Ok(())
    })
}
