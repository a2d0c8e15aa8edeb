//! Snapshots of whole sandboxes.

use std::ffi::c_char;
use std::sync::Arc;

use luacell::{LuaString, RestoreOptions, Snapshot};

use crate::config::{luacell_sandbox_config, sandbox_config};
use crate::engine::{engine_or_default, luacell_engine};
use crate::error::luacell_error;
use crate::guard;
use crate::pointers::{Opaque, Place, borrow, bytes, from_raw};
use crate::sandbox::{luacell_sandbox, with};
use crate::status::luacell_status;
use crate::value::luacell_value;

/// A copy of a whole sandbox: globals, closures, suspended coroutines and tables. It belongs to no sandbox, never
/// changes, and may be used by any number of threads.
pub struct luacell_snapshot {
    _private: (),
}

impl Opaque for luacell_snapshot {
    type Behind = Snapshot;
}

/// Copies the sandbox as it is now; to be freed. LUACELL_BUSY, also inside a host function of this sandbox;
/// LUACELL_STORE if the store fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_snapshot(
    sandbox: *mut luacell_sandbox,
    snapshot: *mut *mut luacell_snapshot,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| {
        let place = Place::new(snapshot, "snapshot")?;
        place.give(sandbox.snapshot()?);
        Ok(())
    })
}

/// Resets the sandbox to a snapshot, of itself or of another one. It keeps its own settings and host functions;
/// functions and stored tables that the host got before give LUACELL_CLOSED afterwards. On an error the sandbox is as
/// it was. Tables in memory become those of the snapshot. A sandbox with a store keeps what the store holds; if Lua
/// holds kept tables in the snapshot, that is LUACELL_INVALID_ARGUMENT. See luacell_sandbox_restore_tables.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_restore(
    sandbox: *mut luacell_sandbox,
    snapshot: *const luacell_snapshot,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| sandbox.restore(borrow(snapshot, "snapshot")?))
}

/// Like luacell_sandbox_restore, but you choose what happens to the tables. If `tables` is true, _home and all other
/// tables become those of the snapshot, and everything else that the store holds is removed; that is
/// LUACELL_INVALID_ARGUMENT if others are using the store. If it is false, the sandbox keeps its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_restore_tables(
    sandbox: *mut luacell_sandbox,
    snapshot: *const luacell_snapshot,
    tables: bool,
    error: *mut *mut luacell_error,
) -> luacell_status {
    let options = RestoreOptions::new().tables(tables);
    with(sandbox, error, |sandbox| sandbox.restore_with(borrow(snapshot, "snapshot")?, &options))
}

/// Makes a second sandbox that continues from where this one is, with the same settings and host functions, and tables
/// of its own in memory; to be freed. Both share the host functions' userdata, whose finalizer runs when neither needs
/// it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_fork(
    sandbox: *mut luacell_sandbox,
    fork: *mut *mut luacell_sandbox,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| {
        let place = Place::new(fork, "fork")?;
        place.give(Arc::new(sandbox.fork()?));
        Ok(())
    })
}

/// Makes a sandbox that begins in the state of the snapshot; to be freed. `engine` may be NULL for the shared one,
/// `config` for the defaults. Host functions have to be registered again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_new_from_snapshot(
    engine: *const luacell_engine,
    snapshot: *const luacell_snapshot,
    config: *const luacell_sandbox_config,
    sandbox: *mut *mut luacell_sandbox,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        // Before anything else, so that it ends userdata whatever goes wrong.
        let config = sandbox_config(config)?;
        let (place, snapshot) = (Place::new(sandbox, "sandbox")?, borrow(snapshot, "snapshot")?);
        place.give(Arc::new(engine_or_default(engine).sandbox_from(snapshot, config)?));
        Ok(())
    })
}

/// The snapshot as bytes, for this version of luacell on any platform: a string value that belongs to the caller. For
/// data that has to outlive versions, use luacell_sandbox_export_home.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_snapshot_to_bytes(
    snapshot: *const luacell_snapshot,
    blob: *mut *mut luacell_value,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let (snapshot, place) = (borrow(snapshot, "snapshot")?, Place::new(blob, "blob")?);
        place.give(LuaString::from(snapshot.to_bytes()?).into());
        Ok(())
    })
}

/// Reads what luacell_snapshot_to_bytes returned, in this or another process; to be freed. `engine` may be NULL for the
/// shared one. LUACELL_INVALID_ARGUMENT for damaged bytes and those of another version. Accept bytes only from places
/// where nobody can have changed them on purpose.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_snapshot_from_bytes(
    engine: *const luacell_engine,
    blob: *const c_char,
    blob_len: usize,
    snapshot: *mut *mut luacell_snapshot,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let (place, blob) = (Place::new(snapshot, "snapshot")?, bytes(blob, blob_len, "blob")?);
        place.give(Snapshot::from_bytes(&engine_or_default(engine), blob)?);
        Ok(())
    })
}

/// Ends a snapshot. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_snapshot_free(snapshot: *mut luacell_snapshot) {
    guard::plain((), || drop(from_raw(snapshot)));
}
