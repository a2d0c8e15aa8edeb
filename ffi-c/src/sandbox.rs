//! Sandboxes: making them, running code, data in and out.

use std::ffi::c_char;
use std::sync::Arc;

use luacell::{Canceller, ComputeOptions, ImportOptions, Interrupter, LuaString, Outcome, Result, Sandbox, Value};

use crate::config::{compute_options, luacell_compute_options, luacell_sandbox_config, sandbox_config};
use crate::engine::{engine_or_default, luacell_engine};
use crate::error::luacell_error;
use crate::guard;
use crate::outcome::luacell_outcome;
use crate::pointers::{Opaque, Place, borrow, bytes, from_raw, into_raw, invalid, text};
use crate::size_prefixed;
use crate::status::luacell_status;
use crate::value::{any_value, any_values, luacell_value, luacell_values};

/// One isolated Lua with its state. It may be shared between threads and is used by one at a time: a second one gets
/// LUACELL_BUSY at once, unless what runs was interrupted: then it waits for the end of that, no longer than the
/// sandbox's timeout. Host functions may use the sandbox that calls them.
pub struct luacell_sandbox {
    _private: (),
}

impl Opaque for luacell_sandbox {
    /// A call has a share of its own: what it does at its very end may come after the end of `luacell_sandbox_close`,
    /// and so after `luacell_sandbox_free`.
    type Behind = Arc<Sandbox>;
}

/// Makes a sandbox. `engine` may be NULL for the shared one, `config` for the defaults. LUACELL_MEMORY when there is no
/// memory for one more, LUACELL_STORE when the store fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_new(
    engine: *const luacell_engine,
    config: *const luacell_sandbox_config,
    sandbox: *mut *mut luacell_sandbox,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        // Before anything else, so that it ends userdata whatever goes wrong.
        let config = sandbox_config(config)?;
        let place = Place::new(sandbox, "sandbox")?;
        place.give(Arc::new(engine_or_default(engine).sandbox(config)?));
        Ok(())
    })
}

/// Ends a sandbox and frees what it holds. Don't call this while another thread uses the sandbox, or from its host
/// functions: luacell_sandbox_close can be called then, and waits for what other threads run. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_free(sandbox: *mut luacell_sandbox) {
    guard::plain((), || drop(from_raw(sandbox)));
}

/// Ends the sandbox for everybody: every later call gives LUACELL_CLOSED, also on values that belong to it. If another
/// thread is running something, this waits until that run has finished, including its host functions. When it returns,
/// no run is left, and the handle can be freed once no thread begins another call with it. luacell_sandbox_interrupt
/// shortens the wait. Inside a host function of this sandbox it does not wait: the sandbox ends with the run that
/// called the function. The handle still has to be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_close(
    sandbox: *mut luacell_sandbox,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| {
        sandbox.close();
        Ok(())
    })
}

/// Does something with a sandbox.
pub(crate) unsafe fn with(
    sandbox: *const luacell_sandbox,
    error: *mut *mut luacell_error,
    body: impl FnOnce(&Sandbox) -> Result<()>,
) -> luacell_status {
    guard::status(error, || {
        let sandbox = Arc::clone(borrow(sandbox, "sandbox")?);
        body(&sandbox)
    })
}

/// Gives a run's outcome to a caller that wants it.
unsafe fn deliver(target: *mut *mut luacell_outcome, outcome: Outcome) {
    if !target.is_null() {
        target.write(into_raw(outcome));
    }
}

/// Runs Lua source, text or any bytes. `options` may be NULL. The outcome belongs to the caller; `outcome` may be NULL
/// if it is not wanted.
///
/// The run is a transaction: what it wrote to stored tables is kept if it succeeds and dropped if it fails. After an
/// error the next run works as if nothing had happened; after LUACELL_TRAP globals are gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_compute(
    sandbox: *mut luacell_sandbox,
    source: *const c_char,
    source_len: usize,
    options: *const luacell_compute_options,
    outcome: *mut *mut luacell_outcome,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| {
        let source = bytes(source, source_len, "source")?;
        let result = match compute_options(options)? {
            None => sandbox.compute(source)?,
            Some(options) => sandbox.compute_with(source, options)?,
        };
        deliver(outcome, result);
        Ok(())
    })
}

/// Calls a global Lua function. Dots in the name reach into tables: game.player.move. The arguments are in `options`,
/// which may be NULL. The outcome belongs to the caller; `outcome` may be NULL. LUACELL_RUNTIME if there is no such
/// function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_call(
    sandbox: *mut luacell_sandbox,
    name: *const c_char,
    name_len: usize,
    options: *const luacell_compute_options,
    outcome: *mut *mut luacell_outcome,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| {
        let name = text(name, name_len, "name")?;
        deliver(outcome, sandbox.call_with(name, compute_options(options)?.unwrap_or_else(ComputeOptions::new))?);
        Ok(())
    })
}

/// Calls a function that a script returned, or passed to a host function. `args` may be NULL for none; they are copied.
/// The outcome belongs to the caller; `outcome` may be NULL. LUACELL_CLOSED if its sandbox is gone or was reset,
/// LUACELL_CONVERSION if `function` is not a function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_function_call(
    function: *const luacell_value,
    args: *const luacell_values,
    outcome: *mut *mut luacell_outcome,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let value = borrow(function, "function")?;
        let function = value.as_function().ok_or_else(|| crate::value::not_a("function", value))?;
        deliver(outcome, function.call(any_values(args))?);
        Ok(())
    })
}

/// Ends the current run, from another thread, with LUACELL_INTERRUPTED, which the script can't catch; does nothing if
/// nothing is running. May be called from any thread, and from a signal handler. It is the only call that accepts a
/// sandbox in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_interrupt(sandbox: *const luacell_sandbox) {
    if let Ok(sandbox) = borrow(sandbox, "sandbox") {
        sandbox.interrupt();
    }
}

/// Interrupts a sandbox that may be gone already.
pub struct luacell_interrupter {
    _private: (),
}

impl Opaque for luacell_interrupter {
    type Behind = Interrupter;
}

/// Makes a handle that can interrupt this sandbox and may outlive it; to be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_interrupter_new(
    sandbox: *const luacell_sandbox,
    interrupter: *mut *mut luacell_interrupter,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| {
        Place::new(interrupter, "interrupter")?.give(sandbox.interrupter());
        Ok(())
    })
}

/// As luacell_sandbox_interrupt. May be called from any thread, and from a signal handler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_interrupter_interrupt(interrupter: *const luacell_interrupter) {
    if let Ok(interrupter) = borrow(interrupter, "interrupter") {
        interrupter.interrupt();
    }
}

/// Ends an interrupter. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_interrupter_free(interrupter: *mut luacell_interrupter) {
    guard::plain((), || drop(from_raw(interrupter)));
}

/// Cancels the runs that it was given to in luacell_compute_options, and no others. May be used by any number of
/// threads.
pub struct luacell_canceller {
    _private: (),
}

impl Opaque for luacell_canceller {
    type Behind = Canceller;
}

/// Makes a canceller; to be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_canceller_new() -> *mut luacell_canceller {
    into_raw(Canceller::new())
}

/// Ends its runs with LUACELL_INTERRUPTED, now or as soon as they begin. Does not wait until they have ended; the next
/// user of such a sandbox does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_canceller_cancel(canceller: *const luacell_canceller) {
    if let Ok(canceller) = borrow(canceller, "canceller") {
        canceller.cancel();
    }
}

/// Ends a canceller; runs that it was given to go on. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_canceller_free(canceller: *mut luacell_canceller) {
    guard::plain((), || drop(from_raw(canceller)));
}

/// Writes a value of the sandbox's.
unsafe fn read(
    sandbox: *const luacell_sandbox,
    value: *mut *mut luacell_value,
    error: *mut *mut luacell_error,
    get: impl FnOnce(&Sandbox) -> Result<Value>,
) -> luacell_status {
    with(sandbox, error, |sandbox| {
        let place = Place::new(value, "value")?;
        place.give(get(sandbox)?);
        Ok(())
    })
}

/// The kept table _home, as a stored table; the value belongs to the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_home(
    sandbox: *mut luacell_sandbox,
    value: *mut *mut luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    read(sandbox, value, error, |sandbox| Ok(Value::StoredTable(sandbox.home())))
}

/// Reads _io.input; the value belongs to the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_input(
    sandbox: *mut luacell_sandbox,
    value: *mut *mut luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    read(sandbox, value, error, Sandbox::input)
}

/// Sets _io.input, the script's input, to a copy of the value. nil removes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_set_input(
    sandbox: *mut luacell_sandbox,
    value: *const luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| sandbox.set_input(any_value(value)))
}

/// Reads _io.output, which a script sets; the value belongs to the caller. A table is returned as a stored one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_output(
    sandbox: *mut luacell_sandbox,
    value: *mut *mut luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    read(sandbox, value, error, Sandbox::output)
}

/// Sets _io.output to a copy of the value. nil removes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_set_output(
    sandbox: *mut luacell_sandbox,
    value: *const luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| sandbox.set_output(any_value(value)))
}

/// Reads _io.meta; the value belongs to the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_meta(
    sandbox: *mut luacell_sandbox,
    value: *mut *mut luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    read(sandbox, value, error, Sandbox::meta)
}

/// Sets _io.meta to a copy of the value. nil removes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_set_meta(
    sandbox: *mut luacell_sandbox,
    value: *const luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| sandbox.set_meta(any_value(value)))
}

/// Removes _io.input, _io.output and _io.meta.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_clear_io(
    sandbox: *mut luacell_sandbox,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, Sandbox::clear_io)
}

/// A sandbox's memory at one moment. Set `size` before passing it; later versions may add fields at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct luacell_memory_stats {
    /// sizeof(luacell_memory_stats)
    pub size: usize,
    /// The buffer through which source and results travel, in bytes.
    pub buffer_bytes: u64,
    /// In use by Lua's own heap, in bytes.
    pub lua_bytes: u64,
    /// The wasm memory, in bytes.
    pub wasm_bytes: u64,
}

// SAFETY: numbers, the size first.
unsafe impl size_prefixed::SizePrefixed for luacell_memory_stats {}

/// Writes how much memory the sandbox uses now to `stats`, whose `size` the caller has set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_memory_stats(
    sandbox: *mut luacell_sandbox,
    stats: *mut luacell_memory_stats,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| {
        let now = sandbox.memory_stats()?;
        let found = luacell_memory_stats {
            size: 0,
            buffer_bytes: now.buffer_bytes,
            lua_bytes: now.lua_bytes,
            wasm_bytes: now.wasm_bytes,
        };
        size_prefixed::write(stats, &found, "luacell_memory_stats")
    })
}

/// Counts the tables in the store. LUACELL_INVALID_ARGUMENT if the store can't list them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_table_count(
    sandbox: *mut luacell_sandbox,
    count: *mut usize,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| {
        let place = Place::new(count, "count")?;
        place.put(sandbox.table_count()?.ok_or_else(|| invalid("this store can't list its tables"))?);
        Ok(())
    })
}

/// Collects garbage: all of Lua's, and stored tables that nothing refers to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_gc(
    sandbox: *mut luacell_sandbox,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, Sandbox::gc)
}

/// Restarts Lua: globals and functions are gone, stored tables and host functions stay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_reset(
    sandbox: *mut luacell_sandbox,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, Sandbox::reset)
}

/// All of _home as one blob, for backups and other stores: a string value that belongs to the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_export_home(
    sandbox: *mut luacell_sandbox,
    blob: *mut *mut luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    read(sandbox, blob, error, |sandbox| Ok(LuaString::from(sandbox.export_home()?).into()))
}

/// Replaces _home with what luacell_sandbox_export_home returned, in one transaction. A blob with functions is
/// LUACELL_INVALID_ARGUMENT: they are bytecode, which Lua does not verify. See luacell_sandbox_import_trusted_home.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_import_home(
    sandbox: *mut luacell_sandbox,
    blob: *const c_char,
    blob_len: usize,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| sandbox.import_home(bytes(blob, blob_len, "blob")?))
}

/// Like luacell_sandbox_import_home, but also accepts functions: for a blob that nobody else could change. With
/// bytecode that somebody made on purpose a script can take over the guest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_import_trusted_home(
    sandbox: *mut luacell_sandbox,
    blob: *const c_char,
    blob_len: usize,
    error: *mut *mut luacell_error,
) -> luacell_status {
    let options = ImportOptions::new().trusted(true);
    with(sandbox, error, |sandbox| sandbox.import_home_with(bytes(blob, blob_len, "blob")?, &options))
}
