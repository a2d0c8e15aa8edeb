//! One running guest: the only place that knows how wasm is executed.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use wasmtime::{
    AsContextMut, Caller, Engine, ExternType, Instance, InstancePre, Linker, Memory, Module, ModuleExport,
    ResourceLimiter, Store, StoreContextMut, TypedFunc,
};

use crate::host::Host;
use crate::image::Image;
use crate::watchdog::{self, Stopped, Watchdog};
use crate::{Error, ErrorKind, Result, functions};

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
    blueprint: Arc<Blueprint>,
    /// Set once the instance is there.
    parts: Option<Parts>,
    runners: Runners,
    /// Where the guest's I/O buffer is.
    pub(crate) buffer: Buffer,
    pub(crate) revision: u32,
    /// The most that the wasm memory may grow to, in bytes.
    max_memory: usize,
    /// Where the guest keeps the metrics of its last run; 0 for nowhere.
    metrics: u32,
    pub(crate) watchdog: Option<Watchdog>,
}

#[derive(Clone, Copy)]
struct Parts {
    instance: Instance,
    memory: Memory,
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
    let memory = caller.data().parts?.memory;
    let (bytes, data) = memory.data_and_store_mut(caller);
    Some((bytes, &mut data.host))
}

/// A request over the channel: it may run a host function, which may come back into the guest.
#[inline]
fn channel(caller: &mut Caller<'_, Data>, request: i32, request_len: i32, answer: i32, max_len: i32) -> i32 {
    let Some((memory, host)) = parts(caller) else {
        return -1;
    };
    if Host::is_call(memory, request, request_len) {
        return functions::answer_call(&mut Context(caller.as_context_mut()), request, request_len, answer, max_len);
    }
    host.request(memory, request, request_len, answer, max_len)
}

/// The five functions. With `waits`, the one that waits for host functions does so as a future.
fn linker(engine: &Engine, waits: bool) -> wasmtime::Result<Linker<Data>> {
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
            if t == 0 {
                return channel(&mut c, k, kl, v, m);
            }
            parts(&mut c).map_or(-1, |(memory, host)| host.get(memory, t, k, kl, v, m))
        },
    )?;
    linker.func_wrap("env", "js_ext_table_delete", |mut c: Caller<'_, Data>, t: i32, k: i32, kl: i32| {
        parts(&mut c).map_or(-1, |(memory, host)| host.delete(memory, t, k, kl))
    })?;
    if waits {
        #[cfg(feature = "async")]
        linker.func_wrap_async("env", "js_ext_table_size", |mut c: Caller<'_, Data>, (t,): (i32,)| {
            Box::new(async move {
                if t == 0 {
                    return crate::waiting::wait(&mut Context(c.as_context_mut())).await;
                }
                parts(&mut c).map_or(0, |(_, host)| host.size(t))
            })
        })?;
    } else {
        linker.func_wrap("env", "js_ext_table_size", |mut c: Caller<'_, Data>, t: i32| {
            parts(&mut c).map_or(0, |(_, host)| host.size(t))
        })?;
    }
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

        impl Context<'_> {
            $(
                $(#[$doc])*
                pub(crate) fn $name(&mut self, $($param: $type),*) -> Result<exports!(@result $($result)?)> {
                    let function = self.resolve(|index| index.$name.as_ref(), stringify!($name))?;
                    self.invoke(&function, ($($param,)*))
                }
            )+
        }
    };
    (@result) => { () };
    (@result $result:ty) => { $result };
}

exports! {
    cached: compute, compute_named, call, call_handle, register_function, unregister_function;
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
    forget_handles();
    get_error_details() -> i32;
    set_memory_limit(bytes: i32);
    allocate_table_ids(count: i32) -> i32;
    list_table_ids() -> i32;
    undo_run();
    set_transaction(flag: i32);
    set_keep_failed(flag: i32);
    set_output_limit(bytes: i32);
    review_limits() -> i32;
    set_print_streaming(flag: i32);
    set_deterministic(flag: i32);
    set_instruction_grant(ticks: i32);
    get_run_metrics() -> i32;
}

/// The exports that run scripts, once looked up.
#[derive(Default)]
struct Runners {
    two: [Option<TypedFunc<(i32, i32), i32>>; 5],
    compute_named: Option<TypedFunc<(i32, i32, i32), i32>>,
}

/// A run of the guest that is ready to begin: what it needs lies in the buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry {
    Compute { len: i32 },
    ComputeNamed { name_len: i32, code_len: i32, args_len: i32 },
    Call { path_len: i32, args_len: i32 },
    CallHandle { handle: i32, args_len: i32 },
    RegisterFunction { name_len: i32, id: i32 },
    UnregisterFunction { name_len: i32, id: i32 },
}

/// The export that an [`Entry`] calls.
enum Runner {
    Two(usize, TypedFunc<(i32, i32), i32>, (i32, i32)),
    Three(TypedFunc<(i32, i32, i32), i32>, (i32, i32, i32)),
}

impl Context<'_> {
    /// The export, taken out of its place: a run inside this one looks it up again.
    #[inline]
    fn runner(&mut self, entry: Entry) -> Result<Runner> {
        let buffer = self.data().buffer.ptr.cast_signed();
        let (at, args, name): (usize, _, _) = match entry {
            Entry::ComputeNamed { name_len, code_len, args_len } => {
                let function = match self.data_mut().runners.compute_named.take() {
                    Some(function) => function,
                    None => self.resolve(|index| index.compute_named.as_ref(), "compute_named")?,
                };
                return Ok(Runner::Three(function, (name_len, code_len, args_len)));
            }
            Entry::Compute { len } => (0, (buffer, len), "compute"),
            Entry::Call { path_len, args_len } => (1, (path_len, args_len), "call"),
            Entry::CallHandle { handle, args_len } => (2, (handle, args_len), "call_handle"),
            Entry::RegisterFunction { name_len, id } => (3, (name_len, id), "register_function"),
            Entry::UnregisterFunction { name_len, id } => (4, (name_len, id), "unregister_function"),
        };
        let function = match self.data_mut().runners.two.get_mut(at).and_then(Option::take) {
            Some(function) => function,
            None => self.resolve(
                |index| match at {
                    0 => index.compute.as_ref(),
                    1 => index.call.as_ref(),
                    2 => index.call_handle.as_ref(),
                    3 => index.register_function.as_ref(),
                    _ => index.unregister_function.as_ref(),
                },
                name,
            )?,
        };
        Ok(Runner::Two(at, function, args))
    }

    /// Keeps the export for the next run.
    #[inline]
    fn keep_runner(&mut self, runner: Runner) {
        let runners = &mut self.data_mut().runners;
        match runner {
            Runner::Two(at, function, _) => {
                if let Some(place) = runners.two.get_mut(at) {
                    *place = Some(function);
                }
            }
            Runner::Three(function, _) => runners.compute_named = Some(function),
        }
    }

    /// Runs the guest; what it answers.
    #[inline]
    pub(crate) fn execute(&mut self, entry: Entry) -> Result<i32> {
        let runner = self.runner(entry)?;
        let result = match &runner {
            Runner::Two(_, function, args) => self.invoke(function, *args),
            Runner::Three(function, args) => self.invoke(function, *args),
        };
        self.keep_runner(runner);
        result
    }

    /// As [`execute`](Self::execute), for an instance whose host functions may be futures.
    #[cfg(feature = "async")]
    pub(crate) async fn execute_async(&mut self, entry: Entry) -> Result<i32> {
        let runner = self.runner(entry)?;
        self.before_call();
        let result = match &runner {
            Runner::Two(_, function, args) => function.call_async(&mut self.0, *args).await,
            Runner::Three(function, args) => function.call_async(&mut self.0, *args).await,
        };
        self.keep_runner(runner);
        result.map_err(|error| trap(&error))
    }
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
    /// The same with host functions that may be futures, once somebody wants that.
    #[cfg(feature = "async")]
    waiting: OnceLock<InstancePre<Data>>,
    memory: ModuleExport,
    index: ExportIndex,
    /// Whether `init` was called before the module was compiled.
    ready: bool,
    /// How long one call may take, where the code is compiled with checks for that.
    longest_call: Option<Duration>,
    /// What is the same in every new instance, once known.
    known: OnceLock<Known>,
}

#[derive(Clone, Copy)]
struct Known {
    buffer: Buffer,
    revision: u32,
    metrics: u32,
}

impl Blueprint {
    /// Prepares our own guest, or somebody else's, which is checked first.
    pub(crate) fn new(module: &Module, ready: bool, longest_call: Option<Duration>) -> Result<Self> {
        check_imports(module)?;
        check_exports(module)?;
        let memory = module.get_export_index("memory").ok_or_else(|| refused("it exports no memory"))?;
        let linker = linker(module.engine(), false).map_err(|e| Error::internal(e.to_string()))?;
        let pre = linker.instantiate_pre(module).map_err(|e| refused(&e.to_string()))?;
        let index = ExportIndex::of(module);
        Ok(Blueprint {
            pre,
            #[cfg(feature = "async")]
            waiting: OnceLock::new(),
            memory,
            index,
            ready,
            longest_call,
            known: OnceLock::new(),
        })
    }

    #[cfg(feature = "async")]
    fn waiting(&self) -> wasmtime::Result<&InstancePre<Data>> {
        if let Some(pre) = self.waiting.get() {
            return Ok(pre);
        }
        let module = self.pre.module();
        let pre = linker(module.engine(), true)?.instantiate_pre(module)?;
        Ok(self.waiting.get_or_init(|| pre))
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
    if let Some(stopped) = error.downcast_ref::<Stopped>() {
        return Error::new(stopped.0, stopped.to_string()).fatal();
    }
    let error = match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => Error::new(ErrorKind::Trap, format!("the guest crashed: {trap}")),
        None => Error::new(ErrorKind::Trap, format!("the guest crashed: {error:#}")),
    };
    error.fatal()
}

/// Why no instance could be made.
#[cold]
fn not_started(error: &wasmtime::Error) -> Error {
    if error.is::<wasmtime::Trap>() || error.is::<Stopped>() {
        return trap(error);
    }
    Error::new(ErrorKind::Memory, format!("no sandbox could be made: {error:#}"))
}

/// One running guest.
pub(crate) struct Guest {
    store: Store<Data>,
    /// Whether it runs on a stack of its own and can wait.
    #[cfg(feature = "async")]
    waits: bool,
}

/// Why an instance was not made, and the host that it was meant for.
pub(crate) struct NotStarted {
    pub(crate) error: Error,
    pub(crate) host: Host,
    /// The pool has no room at this moment.
    pub(crate) exhausted: bool,
}

/// A guest that somebody has at hand: from outside, or inside a host function that it called.
pub(crate) struct Context<'a>(pub(crate) StoreContextMut<'a, Data>);

impl Guest {
    /// Makes an instance.
    pub(crate) fn new(
        blueprint: &Arc<Blueprint>,
        host: Host,
        max_memory: usize,
        waits: bool,
    ) -> Result<Self, Box<NotStarted>> {
        let data = Data {
            host,
            blueprint: Arc::clone(blueprint),
            parts: None,
            runners: Runners::default(),
            buffer: Buffer::default(),
            revision: 1,
            max_memory,
            metrics: 0,
            watchdog: blueprint.longest_call.map(Watchdog::new),
        };
        let mut store = Store::new(blueprint.pre.module().engine(), data);
        store.limiter(|data| data);
        if blueprint.longest_call.is_some() {
            store.set_epoch_deadline(1);
            store.epoch_deadline_callback(watchdog::tick);
        }
        match instantiate(blueprint, &mut store, waits) {
            Ok(instance) => {
                let memory =
                    instance.get_module_export(&mut store, &blueprint.memory).and_then(wasmtime::Extern::into_memory);
                store.data_mut().parts = memory.map(|memory| Parts { instance, memory });
            }
            Err(error) => {
                let exhausted = error.is::<wasmtime::PoolConcurrencyLimitError>();
                return Err(Box::new(NotStarted {
                    error: not_started(&error),
                    host: store.into_data().host,
                    exhausted,
                }));
            }
        }
        let mut guest = Guest {
            store,
            #[cfg(feature = "async")]
            waits,
        };
        match guest.context().start() {
            Ok(()) => Ok(guest),
            Err(error) => Err(Box::new(NotStarted { error, host: guest.into_host(), exhausted: false })),
        }
    }

    #[inline]
    pub(crate) fn context(&mut self) -> Context<'_> {
        Context(self.store.as_context_mut())
    }

    #[inline]
    pub(crate) fn host(&mut self) -> &mut Host {
        &mut self.store.data_mut().host
    }

    /// Whether host functions may be futures.
    #[cfg(feature = "async")]
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    /// Makes a blank instance that of a sandbox.
    pub(crate) fn take_over(&mut self, host: Host) {
        let data = self.store.data_mut();
        data.host = host;
        data.host.revision = data.revision;
        data.host.waits = false;
    }

    /// Ends the instance and gives back what outlives it.
    pub(crate) fn into_host(self) -> Host {
        self.store.into_data().host
    }

    /// Whether this is somebody else's guest.
    pub(crate) fn is_foreign(&self) -> bool {
        !self.store.data().blueprint.ready
    }

    pub(crate) fn buffer_size(&self) -> u32 {
        self.store.data().buffer.size
    }
}

#[cfg(not(feature = "async"))]
fn instantiate(blueprint: &Blueprint, store: &mut Store<Data>, _: bool) -> wasmtime::Result<Instance> {
    blueprint.pre.instantiate(store)
}

#[cfg(feature = "async")]
fn instantiate(blueprint: &Blueprint, store: &mut Store<Data>, waits: bool) -> wasmtime::Result<Instance> {
    if waits {
        crate::waiting::block_on(blueprint.waiting()?.instantiate_async(store))
    } else {
        blueprint.pre.instantiate(store)
    }
}

impl Context<'_> {
    #[inline]
    pub(crate) fn data(&self) -> &Data {
        self.0.data()
    }

    #[inline]
    pub(crate) fn data_mut(&mut self) -> &mut Data {
        self.0.data_mut()
    }

    #[inline]
    pub(crate) fn host(&mut self) -> &mut Host {
        &mut self.0.data_mut().host
    }

    #[inline]
    fn parts(&self) -> Result<Parts> {
        self.data().parts.ok_or_else(|| refused("it exports no memory"))
    }

    /// Memory and host at the same time.
    #[inline]
    pub(crate) fn memory_and_host(&mut self) -> Result<(&mut [u8], &mut Host)> {
        let memory = self.parts()?.memory;
        let (bytes, data) = memory.data_and_store_mut(&mut self.0);
        Ok((bytes, &mut data.host))
    }

    fn start(&mut self) -> Result<()> {
        self.parts()?;
        let blueprint = Arc::clone(&self.data().blueprint);
        if blueprint.ready
            && let Some(known) = blueprint.known.get()
        {
            self.set_known(*known);
            return Ok(());
        }
        if !blueprint.ready && self.init()? != 0 {
            return Err(Error::new(ErrorKind::Memory, "the guest could not start Lua"));
        }
        let mut revision = 1;
        if blueprint.index.get_protocol_revision.is_some() {
            revision = self.get_protocol_revision()?.clamp(1, 2).cast_unsigned();
        }
        if !blueprint.ready && revision >= 2 {
            self.set_host_revision(2)?;
            if blueprint.index.set_transactional.is_some() {
                self.set_transactional(1)?;
            }
            if blueprint.index.set_instruction_grant.is_some() {
                self.set_instruction_grant(crate::limits::GRANT)?;
            }
        }
        let mut metrics = 0;
        if revision >= 2 && blueprint.index.get_run_metrics.is_some() {
            metrics = self.get_run_metrics()?.cast_unsigned();
        }
        self.refresh_buffer()?;
        let known = Known { buffer: self.data().buffer, revision, metrics };
        self.set_known(known);
        if blueprint.ready {
            let _ = blueprint.known.set(known);
        }
        Ok(())
    }

    fn set_known(&mut self, known: Known) {
        let data = self.data_mut();
        data.buffer = known.buffer;
        data.metrics = known.metrics;
        data.revision = known.revision;
        data.host.revision = known.revision;
    }

    #[inline]
    fn before_call(&mut self) {
        if let Some(watchdog) = &mut self.data_mut().watchdog {
            watchdog.enter();
        }
    }

    /// Calls an export.
    #[inline]
    fn invoke<P, R>(&mut self, function: &TypedFunc<P, R>, params: P) -> Result<R>
    where
        P: wasmtime::WasmParams + Sync,
        R: wasmtime::WasmResults + Sync,
    {
        self.before_call();
        #[cfg(feature = "async")]
        if self.data().host.waits {
            return crate::waiting::block_on(function.call_async(&mut self.0, params)).map_err(|error| trap(&error));
        }
        function.call(&mut self.0, params).map_err(|error| trap(&error))
    }

    #[cold]
    fn resolve<P: wasmtime::WasmParams, R: wasmtime::WasmResults>(
        &mut self,
        index: impl Fn(&ExportIndex) -> Option<&ModuleExport>,
        name: &str,
    ) -> Result<TypedFunc<P, R>> {
        let instance = self.parts()?.instance;
        let blueprint = Arc::clone(&self.data().blueprint);
        let export = index(&blueprint.index).ok_or_else(|| missing(name))?;
        let function = instance
            .get_module_export(&mut self.0, export)
            .and_then(wasmtime::Extern::into_func)
            .ok_or_else(|| missing(name))?;
        function.typed(&self.0).map_err(|e| Error::internal(format!("the guest's export {name} has another type: {e}")))
    }

    /// Asks the guest where its buffer is now.
    pub(crate) fn refresh_buffer(&mut self) -> Result<()> {
        let ptr = self.get_buffer_ptr()?.cast_unsigned();
        let size = self.get_buffer_size()?.cast_unsigned();
        if u64::from(ptr) + u64::from(size) > self.memory_size() || ptr == 0 {
            return Err(Error::internal("the guest's buffer does not lie in its memory").fatal());
        }
        self.data_mut().buffer = Buffer { ptr, size };
        Ok(())
    }

    /// Bytes of the guest's memory.
    #[inline]
    pub(crate) fn bytes(&self, ptr: u32, len: u32) -> Result<&[u8]> {
        let start = ptr as usize;
        self.parts()?
            .memory
            .data(&self.0)
            .get(start..start + len as usize)
            .ok_or_else(|| Error::internal("the guest named bytes outside of its memory").fatal())
    }

    /// The start of the I/O buffer. A guest may claim any length: what does not lie in the buffer is refused.
    #[inline]
    pub(crate) fn result(&self, len: u32) -> Result<&[u8]> {
        let buffer = self.data().buffer;
        if len > buffer.size {
            return Err(Error::internal("the guest gave a result that is larger than its buffer").fatal());
        }
        self.bytes(buffer.ptr, len)
    }

    /// Makes room in the I/O buffer.
    pub(crate) fn reserve(&mut self, len: usize) -> Result<()> {
        let size = self.data().buffer.size as usize;
        if len <= size {
            return Ok(());
        }
        let too_large = || Error::new(ErrorKind::Memory, format!("{len} bytes are more than the guest has room for"));
        if self.data().revision < 2 {
            return Err(Error::conversion(format!("{len} bytes are too large for this guest ({size} at most)")));
        }
        let wanted = i32::try_from(len).map_err(|_| too_large())?;
        let ptr = self.reserve_buffer(wanted)?;
        self.refresh_buffer()?;
        if ptr == 0 || (self.data().buffer.size as usize) < len { Err(too_large()) } else { Ok(()) }
    }

    /// Writes the parts one behind another to the I/O buffer, which has to be large enough.
    #[inline]
    pub(crate) fn write(&mut self, parts: &[&[u8]]) -> Result<()> {
        let mut at = self.data().buffer.ptr as usize;
        let memory = self.parts()?.memory.data_mut(&mut self.0);
        for part in parts {
            memory
                .get_mut(at..at + part.len())
                .ok_or_else(|| Error::internal("the guest's buffer does not lie in its memory").fatal())?
                .copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }

    /// All of the guest's memory. Between runs this is everything that the guest is: its wasm globals have their first values then.
    #[cfg(feature = "async")]
    pub(crate) fn copy_memory(&self) -> Result<Vec<u8>> {
        Ok(self.parts()?.memory.data(&self.0).to_vec())
    }

    /// Makes this new instance one that goes on where that memory was copied.
    #[cfg(feature = "async")]
    pub(crate) fn put_memory(&mut self, copy: &[u8]) -> Result<()> {
        self.grown(copy.len())?.copy_from_slice(copy);
        self.refresh_buffer()
    }

    /// So much of the memory, which grows when it has to.
    fn grown(&mut self, size: usize) -> Result<&mut [u8]> {
        const PAGE: u64 = 1 << 16;
        let memory = self.parts()?.memory;
        let missing = (size as u64).saturating_sub(memory.data_size(&self.0) as u64);
        if missing > 0 {
            let grown = memory.grow(&mut self.0, missing.div_ceil(PAGE));
            grown.map_err(|e| Error::new(ErrorKind::Memory, format!("no memory for the sandbox: {e:#}")).fatal())?;
        }
        let room = memory.data_mut(&mut self.0).get_mut(..size);
        room.ok_or_else(|| Error::internal("the memory did not grow").fatal())
    }

    /// All of the guest's memory.
    pub(crate) fn memory(&self) -> Result<&[u8]> {
        Ok(self.parts()?.memory.data(&self.0))
    }

    /// Makes this new instance one that goes on where the image was taken.
    pub(crate) fn put_image(&mut self, image: &Image, whole: bool) -> Result<()> {
        let memory = self.grown(image.size())?;
        image.put(memory, whole).ok_or_else(|| Error::internal("the image does not fit the memory").fatal())?;
        self.refresh_buffer()
    }

    /// What the guest counted in its last run: ticks, and the most bytes in use at once.
    #[inline]
    pub(crate) fn run_metrics(&self) -> (u64, u64) {
        let at = self.data().metrics;
        let bytes = if at == 0 { None } else { self.bytes(at, 12).ok() };
        let Some((ticks, rest)) = bytes.and_then(<[u8]>::split_first_chunk) else {
            return (0, 0);
        };
        let peak = rest.first_chunk().copied().map_or(0, u32::from_le_bytes);
        (u64::from_le_bytes(*ticks), u64::from(peak))
    }

    /// What the last run printed, where the guest keeps it.
    pub(crate) fn captured_output(&self) -> &[u8] {
        let at = self.data().metrics;
        let bytes = if at == 0 { None } else { self.bytes(at.saturating_add(16), 8).ok() };
        let Some((ptr, len)) = bytes.and_then(<[u8]>::split_first_chunk) else {
            return &[];
        };
        let len = len.first_chunk().copied().map_or(0, u32::from_le_bytes);
        self.bytes(u32::from_le_bytes(*ptr), len).unwrap_or_default()
    }

    /// Bounds the whole wasm memory, for a guest that can't bound Lua's heap.
    pub(crate) fn set_max_memory(&mut self, bytes: u64) {
        let data = self.data_mut();
        data.max_memory = data.max_memory.min(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    pub(crate) fn memory_size(&self) -> u64 {
        self.parts().map_or(0, |parts| parts.memory.data_size(&self.0) as u64)
    }
}

/// Which of the optional exports the guest has.
macro_rules! offers {
    ($($name:ident: $export:ident;)+) => {
        impl Context<'_> {
            $(
                pub(crate) fn $name(&self) -> bool {
                    self.data().blueprint.index.$export.is_some()
                }
            )+
        }
    };
}

offers! {
    has_table_lists: list_table_ids;
    has_table_ids: allocate_table_ids;
    has_undo: undo_run;
    has_keep_failed: set_keep_failed;
    has_forget_handles: forget_handles;
    has_memory_limit: set_memory_limit;
    has_output_limit: set_output_limit;
    has_limit_review: review_limits;
    has_print_streaming: set_print_streaming;
    has_error_details: get_error_details;
    has_deterministic: set_deterministic;
    has_instruction_grant: set_instruction_grant;
}

#[cold]
fn missing(name: &str) -> Error {
    Error::invalid(format!("this guest does not offer that: it lacks the export {name}"))
}
