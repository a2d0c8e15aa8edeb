//! One running guest: the only place that knows how wasm is executed.

use std::time::{Duration, Instant};

use wasmtime::{
    Caller, Engine, ExternType, Instance, InstancePre, Linker, Memory, Module, ModuleExport, ResourceLimiter, Store,
    TypedFunc,
};

use crate::host::Host;
use crate::{Error, ErrorKind, Result};

/// The five functions and how many parameters each has.
const IMPORTS: [(&str, usize); 5] = [
    ("js_ext_table_set", 5),
    ("js_ext_table_get", 5),
    ("js_ext_table_delete", 3),
    ("js_ext_table_size", 1),
    ("js_ext_table_keys", 3),
];

/// What a wasm store carries.
pub(crate) struct Data {
    pub(crate) host: Host,
    memory: Option<Memory>,
    /// The most that the wasm memory may grow to, in bytes.
    max_memory: usize,
}

impl ResourceLimiter for Data {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= self.max_memory)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= 1 << 20)
    }
}

/// Memory and host of the instance that calls.
#[inline]
fn parts<'a>(caller: &'a mut Caller<'_, Data>) -> Option<(&'a mut [u8], &'a mut Host)> {
    // A start function may call before the memory is known.
    let memory = caller.data().memory?;
    let (bytes, data) = memory.data_and_store_mut(caller);
    Some((bytes, &mut data.host))
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<Data>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap(
        "env",
        "js_ext_table_set",
        |mut c: Caller<'_, Data>, t: i32, k: i32, kl: i32, v: i32, vl: i32| {
            parts(&mut c).map_or(-1, |(memory, host)| host.set(memory, t, k, kl, v, vl))
        },
    )?;
    linker.func_wrap(
        "env",
        "js_ext_table_get",
        |mut c: Caller<'_, Data>, t: i32, k: i32, kl: i32, v: i32, m: i32| {
            parts(&mut c).map_or(-1, |(memory, host)| host.get(memory, t, k, kl, v, m))
        },
    )?;
    linker.func_wrap("env", "js_ext_table_delete", |mut c: Caller<'_, Data>, t: i32, k: i32, kl: i32| {
        parts(&mut c).map_or(-1, |(memory, host)| host.delete(memory, t, k, kl))
    })?;
    linker.func_wrap("env", "js_ext_table_size", |mut c: Caller<'_, Data>, t: i32| {
        parts(&mut c).map_or(0, |(_, host)| host.size(t))
    })?;
    linker.func_wrap("env", "js_ext_table_keys", |mut c: Caller<'_, Data>, t: i32, b: i32, m: i32| {
        parts(&mut c).map_or(-1, |(memory, host)| host.keys(memory, t, b, m))
    })?;
    Ok(linker)
}

macro_rules! exports {
    (
        cached: $($runner:ident),+;
        $($(#[$doc:meta])* $name:ident($($param:ident: $type:ty),*) $(-> $result:ty)?;)+
    ) => {
        /// Where the exports are in the module.
        struct ExportIndex {
            $($runner: Option<ModuleExport>,)+
            $($name: Option<ModuleExport>,)+
        }

        impl ExportIndex {
            fn of(module: &Module) -> Self {
                ExportIndex {
                    $($runner: module.get_export_index(stringify!($runner)),)+
                    $($name: module.get_export_index(stringify!($name)),)+
                }
            }
        }

        impl Guest {
            $(
                $(#[$doc])*
                pub(crate) fn $name(&mut self, $($param: $type),*) -> Result<exports!(@result $($result)?)> {
                    let function = self.resolve(|index| index.$name.as_ref(), stringify!($name))?;
                    self.before_call();
                    function.call(&mut self.store, ($($param,)*)).map_err(|error| trap(&error))
                }
            )+

            /// Whether the guest has all of revision 2.
            fn has_revision_2(index: &ExportIndex) -> bool {
                index.get_protocol_revision.is_some()
            }
        }
    };
    (@result) => { () };
    (@result $result:ty) => { $result };
}

exports! {
    cached: compute, compute_named, call, call_handle, allocate_table_ids;
    init() -> i32;
    get_buffer_ptr() -> i32;
    get_buffer_size() -> i32;
    get_memory_stats(ptr: i32);
    run_gc();
    attach_memory_table(id: i32);
    sync_external_table_counter(next_id: i32);
    set_memory_alias_enabled(flag: i32);
    get_protocol_revision() -> i32;
    set_host_revision(revision: i32);
    set_transactional(flag: i32);
    reserve_buffer(size: i32) -> i32;
    release_handle(handle: i32);
    get_error_details() -> i32;
    set_memory_limit(bytes: i32);
    list_table_ids() -> i32;
    undo_run();
}

/// The exports that run scripts, once looked up.
#[derive(Default)]
struct Runners {
    compute: Option<TypedFunc<(i32, i32), i32>>,
    compute_named: Option<TypedFunc<(i32, i32, i32), i32>>,
    call: Option<TypedFunc<(i32, i32), i32>>,
    call_handle: Option<TypedFunc<(i32, i32), i32>>,
    allocate_table_ids: Option<TypedFunc<i32, i32>>,
}

macro_rules! runners {
    ($($name:ident = $export:ident($($param:ident),*);)+) => {
        impl Guest {
            $(
                /// As the export, with what was looked up kept.
                #[inline]
                pub(crate) fn $name(&mut self, $($param: i32),*) -> Result<i32> {
                    if self.runners.$export.is_none() {
                        self.runners.$export =
                            Some(self.resolve(|index| index.$export.as_ref(), stringify!($export))?);
                    }
                    self.before_call();
                    match &self.runners.$export {
                        Some(function) => {
                            function.call(&mut self.store, ($($param),*)).map_err(|error| trap(&error))
                        }
                        None => Err(missing(stringify!($export))),
                    }
                }
            )+
        }
    };
}

runners! {
    run_compute = compute(code_ptr, code_len);
    run_compute_named = compute_named(name_len, code_len, args_len);
    run_call = call(path_len, args_len);
    run_call_handle = call_handle(handle, args_len);
    take_table_ids = allocate_table_ids(count);
}

/// Where a guest's I/O buffer is. Both numbers come from the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Buffer {
    pub(crate) ptr: u32,
    pub(crate) size: u32,
}

/// A module that is ready to be instantiated.
pub(crate) struct Blueprint {
    pre: InstancePre<Data>,
    memory: ModuleExport,
    index: ExportIndex,
    /// Whether `init` was called before the module was compiled.
    ready: bool,
    /// How long one call may take, where the code is compiled with checks for that.
    deadline: Option<Duration>,
    /// The buffer of a new instance, once known.
    buffer: std::sync::OnceLock<(Buffer, u32)>,
}

impl Blueprint {
    /// Prepares our own guest, or somebody else's, which is checked first.
    pub(crate) fn new(module: &Module, ready: bool, deadline: Option<Duration>) -> Result<Self> {
        check_imports(module)?;
        check_exports(module)?;
        let memory = module.get_export_index("memory").ok_or_else(|| refused("it exports no memory"))?;
        let linker = linker(module.engine()).map_err(|e| Error::internal(e.to_string()))?;
        let pre = linker.instantiate_pre(module).map_err(|e| refused(&e.to_string()))?;
        let index = ExportIndex::of(module);
        Ok(Blueprint { pre, memory, index, ready, deadline, buffer: std::sync::OnceLock::new() })
    }
}

fn refused(why: &str) -> Error {
    Error::invalid(format!("this is no lua.wasm that luacell can run: {why}"))
}

fn check_imports(module: &Module) -> Result<()> {
    for import in module.imports() {
        let name = import.name();
        let known = IMPORTS.iter().find(|(known, _)| *known == name && import.module() == "env");
        let fits = match (known, import.ty()) {
            (Some((_, params)), ExternType::Func(ty)) => {
                ty.params().len() == *params
                    && ty.params().all(|p| p.is_i32())
                    && ty.results().len() == 1
                    && ty.results().all(|r| r.is_i32())
            }
            _ => false,
        };
        if !fits {
            return Err(refused(&format!("it imports {}.{name}, or with another type", import.module())));
        }
    }
    Ok(())
}

/// Revision 1 has to be there; what is there of revision 2 has to have the right type, which is checked at the first call.
fn check_exports(module: &Module) -> Result<()> {
    const REQUIRED: [(&str, usize, usize); 8] = [
        ("init", 0, 1),
        ("get_buffer_ptr", 0, 1),
        ("get_buffer_size", 0, 1),
        ("compute", 2, 1),
        ("get_memory_stats", 1, 0),
        ("run_gc", 0, 0),
        ("attach_memory_table", 1, 0),
        ("sync_external_table_counter", 1, 0),
    ];
    if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
        return Err(refused("it exports no memory"));
    }
    for (name, params, results) in REQUIRED {
        let fits = match module.get_export(name) {
            Some(ExternType::Func(ty)) => {
                ty.params().len() == params
                    && ty.results().len() == results
                    && ty.params().chain(ty.results()).all(|t| t.is_i32())
            }
            _ => false,
        };
        if !fits {
            return Err(refused(&format!("it lacks the export {name}, or has it with another type")));
        }
    }
    Ok(())
}

/// What a call that did not return means.
#[cold]
fn trap(error: &wasmtime::Error) -> Error {
    let error = match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::Interrupt) => Error::new(ErrorKind::Timeout, "the guest ran longer than it may"),
        Some(trap) => Error::new(ErrorKind::Trap, format!("the guest crashed: {trap}")),
        None => Error::new(ErrorKind::Trap, format!("the guest crashed: {error:#}")),
    };
    error.fatal()
}

/// Why no instance could be made.
#[cold]
fn not_started(error: &wasmtime::Error) -> Error {
    if error.downcast_ref::<wasmtime::Trap>().is_some() {
        return trap(error);
    }
    Error::new(ErrorKind::Memory, format!("no sandbox could be made: {error:#}"))
}

/// One running guest.
pub(crate) struct Guest {
    store: Store<Data>,
    instance: Instance,
    memory: Memory,
    blueprint: std::sync::Arc<Blueprint>,
    runners: Runners,
    pub(crate) buffer: Buffer,
    pub(crate) revision: u32,
}

/// Why an instance was not made, and the host that it was meant for.
pub(crate) struct NotStarted {
    pub(crate) error: Error,
    pub(crate) host: Host,
    /// The pool has no room at this moment.
    pub(crate) exhausted: bool,
}

impl Guest {
    /// Makes an instance.
    pub(crate) fn new(
        blueprint: &std::sync::Arc<Blueprint>,
        host: Host,
        max_memory: usize,
    ) -> Result<Self, Box<NotStarted>> {
        let data = Data { host, memory: None, max_memory };
        let mut store = Store::new(blueprint.pre.module().engine(), data);
        store.limiter(|data| data);
        if let Some(deadline) = blueprint.deadline {
            store.set_epoch_deadline(ticks(deadline));
        }
        let instance = match blueprint.pre.instantiate(&mut store) {
            Ok(instance) => instance,
            Err(error) => {
                let exhausted = error.is::<wasmtime::PoolConcurrencyLimitError>();
                return Err(Box::new(NotStarted {
                    error: not_started(&error),
                    host: store.into_data().host,
                    exhausted,
                }));
            }
        };
        let memory = instance.get_module_export(&mut store, &blueprint.memory).and_then(wasmtime::Extern::into_memory);
        let Some(memory) = memory else {
            let host = store.into_data().host;
            return Err(Box::new(NotStarted { error: refused("it exports no memory"), host, exhausted: false }));
        };
        store.data_mut().memory = Some(memory);
        let mut guest = Guest {
            store,
            instance,
            memory,
            blueprint: std::sync::Arc::clone(blueprint),
            runners: Runners::default(),
            buffer: Buffer::default(),
            revision: 1,
        };
        match guest.start() {
            Ok(()) => Ok(guest),
            Err(error) => Err(Box::new(NotStarted { error, host: guest.store.into_data().host, exhausted: false })),
        }
    }

    fn start(&mut self) -> Result<()> {
        let blueprint = std::sync::Arc::clone(&self.blueprint);
        if blueprint.ready
            && let Some((buffer, revision)) = blueprint.buffer.get()
        {
            self.buffer = *buffer;
            self.set_revision(*revision);
            return Ok(());
        }
        if !blueprint.ready && self.init()? != 0 {
            return Err(Error::new(ErrorKind::Memory, "the guest could not start Lua"));
        }
        let mut revision = 1;
        if Guest::has_revision_2(&blueprint.index) {
            revision = self.get_protocol_revision()?.clamp(1, 2).cast_unsigned();
        }
        if !blueprint.ready && revision >= 2 {
            self.set_host_revision(2)?;
            if blueprint.index.set_transactional.is_some() {
                self.set_transactional(1)?;
            }
        }
        self.set_revision(revision);
        self.refresh_buffer()?;
        if blueprint.ready {
            // The same in every instance of this snapshot.
            let _ = blueprint.buffer.set((self.buffer, revision));
        }
        Ok(())
    }

    fn set_revision(&mut self, revision: u32) {
        self.revision = revision;
        self.host().revision = revision;
    }

    #[inline]
    fn before_call(&mut self) {
        if let Some(deadline) = self.blueprint.deadline {
            self.store.set_epoch_deadline(ticks(deadline));
        }
    }

    #[cold]
    fn resolve<P: wasmtime::WasmParams, R: wasmtime::WasmResults>(
        &mut self,
        index: impl Fn(&ExportIndex) -> Option<&ModuleExport>,
        name: &str,
    ) -> Result<TypedFunc<P, R>> {
        let export = index(&self.blueprint.index).ok_or_else(|| missing(name))?;
        let function = self
            .instance
            .get_module_export(&mut self.store, export)
            .and_then(wasmtime::Extern::into_func)
            .ok_or_else(|| missing(name))?;
        function
            .typed(&self.store)
            .map_err(|e| Error::internal(format!("the guest's export {name} has another type: {e}")))
    }

    /// Asks the guest where its buffer is now.
    pub(crate) fn refresh_buffer(&mut self) -> Result<()> {
        let ptr = self.get_buffer_ptr()?.cast_unsigned();
        let size = self.get_buffer_size()?.cast_unsigned();
        if u64::from(ptr) + u64::from(size) > self.memory.data_size(&self.store) as u64 || ptr == 0 {
            return Err(Error::internal("the guest's buffer does not lie in its memory").fatal());
        }
        self.buffer = Buffer { ptr, size };
        Ok(())
    }

    /// Bytes of the guest's memory.
    #[inline]
    pub(crate) fn bytes(&self, ptr: u32, len: u32) -> Result<&[u8]> {
        let start = ptr as usize;
        self.memory
            .data(&self.store)
            .get(start..start + len as usize)
            .ok_or_else(|| Error::internal("the guest named bytes outside of its memory").fatal())
    }

    /// The start of the I/O buffer. A guest may claim any length: what does not lie in the buffer is refused.
    #[inline]
    pub(crate) fn result(&self, len: u32) -> Result<&[u8]> {
        if len > self.buffer.size {
            return Err(Error::internal("the guest gave a result that is larger than its buffer").fatal());
        }
        self.bytes(self.buffer.ptr, len)
    }

    /// Makes room in the I/O buffer.
    pub(crate) fn reserve(&mut self, len: usize) -> Result<()> {
        if len <= self.buffer.size as usize {
            return Ok(());
        }
        let too_large = || Error::new(ErrorKind::Memory, format!("{len} bytes are more than the guest has room for"));
        if self.revision < 2 {
            return Err(Error::conversion(format!(
                "{len} bytes are too large for this guest ({} at most)",
                self.buffer.size
            )));
        }
        let size = i32::try_from(len).map_err(|_| too_large())?;
        let ptr = self.reserve_buffer(size)?;
        self.refresh_buffer()?;
        if ptr == 0 || (self.buffer.size as usize) < len { Err(too_large()) } else { Ok(()) }
    }

    /// Writes the parts one behind another to the I/O buffer, which has to be large enough.
    #[inline]
    pub(crate) fn write(&mut self, parts: &[&[u8]]) -> Result<()> {
        let mut at = self.buffer.ptr as usize;
        let memory = self.memory.data_mut(&mut self.store);
        for part in parts {
            memory
                .get_mut(at..at + part.len())
                .ok_or_else(|| Error::internal("the guest's buffer does not lie in its memory").fatal())?
                .copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn host(&mut self) -> &mut Host {
        &mut self.store.data_mut().host
    }

    /// Ends the instance and gives back what outlives it.
    pub(crate) fn into_host(self) -> Host {
        self.store.into_data().host
    }

    /// Bounds the whole wasm memory, for a guest that can't bound Lua's heap.
    pub(crate) fn set_max_memory(&mut self, bytes: u64) {
        let data = self.store.data_mut();
        data.max_memory = data.max_memory.min(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// Whether this is somebody else's guest.
    pub(crate) fn is_foreign(&self) -> bool {
        !self.blueprint.ready
    }

    pub(crate) fn memory_size(&self) -> u64 {
        self.memory.data_size(&self.store) as u64
    }

    /// Whether the guest has the export.
    pub(crate) fn has_table_lists(&self) -> bool {
        self.blueprint.index.list_table_ids.is_some()
    }

    pub(crate) fn has_table_ids(&self) -> bool {
        self.blueprint.index.allocate_table_ids.is_some()
    }

    pub(crate) fn has_undo(&self) -> bool {
        self.blueprint.index.undo_run.is_some()
    }

    pub(crate) fn has_memory_limit(&self) -> bool {
        self.blueprint.index.set_memory_limit.is_some()
    }

    pub(crate) fn has_error_details(&self) -> bool {
        self.blueprint.index.get_error_details.is_some()
    }
}

#[cold]
fn missing(name: &str) -> Error {
    Error::invalid(format!("this guest does not offer that: it lacks the export {name}"))
}

/// How often the clock of an engine with deadlines ticks.
pub(crate) const TICK: Duration = Duration::from_millis(10);

fn ticks(deadline: Duration) -> u64 {
    u64::try_from(deadline.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX / 2).clamp(1, u64::MAX / 2)
}

/// For `Instant` in one place only.
pub(crate) fn now() -> Instant {
    Instant::now()
}
