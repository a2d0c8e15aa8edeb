//! Settings, as structs that may grow.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use luacell::{ComputeOptions, Error, Module, Result, SandboxConfig, StoreLimit};

use crate::error::luacell_error;
use crate::pointers::{Userdata, borrow, bytes, callback_result, invalid, luacell_finalizer, text};
use crate::sandbox::luacell_canceller;
use crate::sink::{luacell_sink, with_sink};
use crate::size_prefixed;
use crate::status::luacell_status;
use crate::store::luacell_store;
use crate::value::{any_values, luacell_values};

/// In place of a limit: none.
pub const LUACELL_UNLIMITED: u64 = 0xFFFF_FFFF_FFFF_FFFF;
/// In place of a number for which 0 means the default: 0 itself.
pub const LUACELL_ZERO: u64 = 0xFFFF_FFFF_FFFF_FFFE;

/// The limits of a run. In each field 0 means the default, LUACELL_ZERO nothing at all, LUACELL_UNLIMITED no limit.
/// Later versions may add fields at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct luacell_limits {
    /// sizeof(luacell_limits)
    pub size: usize,
    /// Bytes for Lua's heap and the buffers of the run. Beyond: "not enough memory", which pcall can catch, or
    /// LUACELL_MEMORY. Default 256 MiB.
    pub memory_limit: u64,
    /// Instructions; the count is the same in every run of a script. Beyond: LUACELL_INSTRUCTION_LIMIT, which a script
    /// can't catch, like all that follow. Default: no limit.
    pub instruction_limit: u64,
    /// How long a run may take, in milliseconds. Beyond: LUACELL_TIMEOUT. Default 60,000.
    pub timeout_ms: u64,
    /// Bytes of print in a run. Beyond: LUACELL_OUTPUT_LIMIT. Default 16 MiB.
    pub output_limit: u64,
    /// Bytes of keys and values in stored tables. Beyond: LUACELL_STORE_LIMIT. Default 1 GiB.
    pub store_limit: u64,
    /// Entries in stored tables. Default 10 million. If only one of the two is set, the other has no limit.
    pub store_entries: u64,
    /// Calls of host functions in a run. Beyond: LUACELL_HOST_CALL_LIMIT. Default: no limit.
    pub host_call_limit: u64,
    /// Bytes of source for one run. Beyond: LUACELL_INVALID_ARGUMENT. Default 16 MiB.
    pub source_limit: u64,
}

// SAFETY: numbers, the size first.
unsafe impl size_prefixed::SizePrefixed for luacell_limits {}

/// A number for which 0 means the default.
pub(crate) fn number(n: u64) -> Option<u64> {
    match n {
        0 => None,
        LUACELL_ZERO => Some(0),
        n => Some(n),
    }
}

/// Sandboxes and runs are given limits by methods of the same names.
macro_rules! set_limits {
    ($target:ident, $limits:expr) => {
        if let Some(limits) = $limits {
            if let Some(bytes) = number(limits.memory_limit) {
                $target = $target.memory_limit(bytes);
            }
            if let Some(instructions) = number(limits.instruction_limit) {
                $target = $target.instruction_limit(instructions);
            }
            if let Some(milliseconds) = number(limits.timeout_ms) {
                let bounded = milliseconds != LUACELL_UNLIMITED;
                $target = $target.timeout(bounded.then(|| Duration::from_millis(milliseconds)));
            }
            if let Some(bytes) = number(limits.output_limit) {
                $target = $target.output_limit(bytes);
            }
            let (bytes, entries) = (number(limits.store_limit), number(limits.store_entries));
            if (bytes, entries) != (None, None) {
                let limit = StoreLimit::new(bytes.unwrap_or(u64::MAX), entries.unwrap_or(u64::MAX));
                $target = $target.store_limit(limit);
            }
            if let Some(calls) = number(limits.host_call_limit) {
                $target = $target.host_call_limit(calls);
            }
            if let Some(bytes) = number(limits.source_limit) {
                $target = $target.source_limit(bytes);
            }
        }
    };
}

/// Receives printed text immediately, one call for each print, including its newline. Runs on the thread that runs the
/// script, and can't use the sandbox.
pub type luacell_print = Option<unsafe extern "C" fn(userdata: *mut c_void, text: *const c_char, text_len: usize)>;

/// Finds a module's source for require: passes it to `source` with luacell_sink_put, or does not if there is no such
/// module. The name comes from the script and may be anything. The chunk is named after the module. A status other than
/// LUACELL_OK, with an error that then belongs to the library, is raised in the script.
pub type luacell_find_module = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        name: *const c_char,
        name_len: usize,
        source: *mut luacell_sink,
        error: *mut *mut luacell_error,
    ) -> luacell_status,
>;

/// Settings of a sandbox. Zero in all fields except size means the defaults. Later versions may add fields at the end. A struct
/// whose userdata has a finalizer is good for one sandbox.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct luacell_sandbox_config {
    /// sizeof(luacell_sandbox_config)
    pub size: usize,
    /// Limits of every run; NULL for the defaults.
    pub limits: *const luacell_limits,
    /// Where _home is kept: the path of a file, also as file://PATH?read_only=true, or a server's URL (redis://,
    /// rediss://, valkey://, valkeys://). NULL: in memory.
    pub location: *const c_char,
    /// Length of `location`.
    pub location_len: usize,
    /// A store that was opened before, instead of `location`. The sandbox shares it: the handle may be freed
    /// afterwards.
    pub store: *const luacell_store,
    /// How often a run is repeated after a conflict with another sandbox on the same store. 0: the default, 10.
    /// Negative: never.
    pub conflict_retries: i32,
    /// Leaves out the global Memory, which is another name for _home.
    pub no_memory_alias: bool,
    /// Makes runs repeatable: randomness comes from `seed`, the clock is virtual.
    pub deterministic: bool,
    /// For `deterministic`.
    pub seed: u64,
    /// Receives the text that scripts print; NULL: it is collected for the outcome.
    pub print: luacell_print,
    /// Passed to `print`.
    pub print_userdata: *mut c_void,
    /// Ends `print_userdata`.
    pub print_finalizer: luacell_finalizer,
    /// Where require finds modules: a folder, in which "a.b" is a/b.lua or a/b/init.lua. NULL: nowhere.
    pub module_folder: *const c_char,
    /// Length of `module_folder`.
    pub module_folder_len: usize,
    /// What finds modules, instead of `module_folder`. May be called from any thread that uses the sandbox.
    pub find_module: luacell_find_module,
    /// Passed to `find_module`.
    pub find_module_userdata: *mut c_void,
    /// Ends `find_module_userdata`.
    pub find_module_finalizer: luacell_finalizer,
    /// Loads no functions from the store, because others can write to it: they are bytecode, which Lua does not verify.
    /// Reading one gives LUACELL_STORE.
    pub no_stored_functions: bool,
    /// For how many milliseconds the sandbox claims a durable run each time, in a store that several sandboxes use; for so
    /// long nobody else can resume the run. The claim is renewed whenever the run waits, and by luacell_run_renew; it ends
    /// with the run or its handle. 0: the default, 30,000.
    pub claim_term_ms: u64,
    /// Has this sandbox's runs take turns with those of other sandboxes that use the same store and do the same, in this
    /// process and on a server: none is in conflict with another then, also if it waits in between. A run waits for its
    /// turn on the calling thread, which does not count for its timeout, and has it from its beginning to its end, a
    /// durable one from wait to wait. LUACELL_BUSY if the run whose turn it is belongs to this very thread, which has to
    /// end it first. On a server a turn ends after 30 seconds if its holder is gone.
    pub queue_runs: bool,
}

// SAFETY: numbers and nullable pointers, the size first.
unsafe impl size_prefixed::SizePrefixed for luacell_sandbox_config {}

pub(crate) unsafe fn sandbox_config(given: *const luacell_sandbox_config) -> Result<SandboxConfig> {
    const NAME: &str = "luacell_sandbox_config";
    let mut config = SandboxConfig::new();
    let (given, wrong) = match size_prefixed::read(given, NAME) {
        Ok(None) => return Ok(config),
        Ok(Some(given)) => (given, None),
        Err(error) => (size_prefixed::refused(given, NAME), Some(error)),
    };
    // First of all, so that finalizers run whatever goes wrong.
    let print_userdata = Userdata::new(given.print_userdata, given.print_finalizer);
    let module_userdata = Userdata::new(given.find_module_userdata, given.find_module_finalizer);
    if let Some(error) = wrong {
        return Err(error);
    }
    if let Some(print) = given.print {
        // SAFETY: the header demands that this can be called so.
        config =
            config.on_print(move |text| unsafe { print(print_userdata.pointer(), text.as_ptr().cast(), text.len()) });
    }
    if let Some(find) = given.find_module {
        config = config.modules(move |name: &str| {
            let mut found = None;
            with_sink(
                &mut |source| match found.replace(Module::new(name, source)) {
                    None => Ok(()),
                    Some(_) => Err(invalid("a module can have only one source")),
                },
                |sink| {
                    callback_result("the search for a module", |error| {
                        // SAFETY: as above.
                        unsafe { find(module_userdata.pointer(), name.as_ptr().cast(), name.len(), sink, error) }
                    })
                },
            )?;
            Ok::<_, Error>(found)
        });
    } else if !given.module_folder.is_null() {
        let folder = text(given.module_folder, given.module_folder_len, "module_folder")?;
        config = config.modules(luacell::Folder::new(folder));
    }
    set_limits!(config, size_prefixed::read(given.limits, "luacell_limits")?);
    match (given.store.is_null(), given.location.is_null()) {
        (false, false) => return Err(invalid("a sandbox can have only one store: set location or store")),
        (false, true) => config = config.store(borrow(given.store, "store")?.share()?),
        (true, false) => config = config.store(text(given.location, given.location_len, "location")?),
        (true, true) => {}
    }
    if given.conflict_retries != 0 {
        config = config.conflict_retries(u32::try_from(given.conflict_retries).unwrap_or(0));
    }
    if given.deterministic {
        config = config.deterministic(given.seed);
    }
    if let Some(milliseconds) = number(given.claim_term_ms) {
        config = config.claim_term(Duration::from_millis(milliseconds));
    }
    config = config.queue_runs(given.queue_runs);
    Ok(config.memory_alias(!given.no_memory_alias).stored_functions(!given.no_stored_functions))
}

/// Settings of one run. Zero in all fields except size means the defaults. Later versions may add fields at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct luacell_compute_options {
    /// sizeof(luacell_compute_options)
    pub size: usize,
    /// The chunk's name for messages, as in Lua: =name is shown as it is, @name as a file's. NULL: after the source.
    /// Not for calls.
    pub name: *const c_char,
    /// Length of `name`.
    pub name_len: usize,
    /// The chunk's arguments, its `...`; with luacell_call the function's. NULL: none. Copied.
    pub args: *const luacell_values,
    /// Limits that hold instead of the sandbox's where they are set; NULL for none.
    pub limits: *const luacell_limits,
    /// What can cancel the run, before it begins and while it is under way; NULL for none. Not for runs within a host
    /// function.
    pub canceller: *const luacell_canceller,
    /// For luacell_start and luacell_start_call: a name in the sandbox's store, under which the run survives the process,
    /// 1 to 1,000 bytes. Whenever the run waits, the store gets in one transaction what it has written so far and the
    /// whole Lua as it is then; luacell_sandbox_resume continues from there, in any sandbox with the same store. No write
    /// is lost or done twice, and requests whose answers were not stored yet are handed out again under their old ids.
    /// When the run has ended, the name is free again. NULL: the run ends with its handle.
    pub durable: *const c_char,
    /// Length of `durable`.
    pub durable_len: usize,
}

// SAFETY: numbers and nullable pointers, the size first.
unsafe impl size_prefixed::SizePrefixed for luacell_compute_options {}

/// The options of a run; `None` when all are defaults.
pub(crate) unsafe fn compute_options(given: *const luacell_compute_options) -> Result<Option<ComputeOptions>> {
    let Some(given) = size_prefixed::read(given, "luacell_compute_options")? else {
        return Ok(None);
    };
    let mut options = ComputeOptions::new().args(any_values(given.args));
    // A name may be any bytes in Lua; here it is text.
    options = options.name(String::from_utf8_lossy(bytes(given.name, given.name_len, "name")?));
    set_limits!(options, size_prefixed::read(given.limits, "luacell_limits")?);
    if !given.canceller.is_null() {
        options = options.canceller(borrow(given.canceller, "canceller")?);
    }
    if !given.durable.is_null() {
        options = options.durable(text(given.durable, given.durable_len, "durable")?);
    }
    Ok(Some(options))
}
