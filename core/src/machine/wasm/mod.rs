//! The guest as a wasm module, run by wasmtime.

// Elsewhere the system lets nobody execute pages of a file after the fact.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(packed_guest), not(feature = "pulley")))]
mod in_place;
mod page_aligned;
mod pool;

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{
    AsContextMut, Caller, Engine, ExternType, Instance, InstancePre, Linker, Memory, Module, ModuleExport,
    ResourceLimiter, Store, StoreContextMut, TypedFunc, UpdateDeadline,
};

pub(crate) use self::pool::Machines;
use super::watchdog::{Stopped, Watchdog};
use super::{Data, Entry, Export, Imports, Machine, NotStarted};
use crate::value::{Error, ErrorKind, Result};

/// What an export takes.
pub(crate) trait Params: wasmtime::WasmParams + Sync {}

impl<T: wasmtime::WasmParams + Sync> Params for T {}

/// What an export gives.
pub(crate) trait Answer: wasmtime::WasmResults + Sync {}

impl<T: wasmtime::WasmResults + Sync> Answer for T {}

/// The five functions and how many parameters each has.
const IMPORTS: [(&str, usize); 5] = [
    ("js_ext_table_set", 5),
    ("js_ext_table_get", 5),
    ("js_ext_table_delete", 3),
    ("js_ext_table_size", 1),
    ("js_ext_table_keys", 3),
];

/// What is kept with a guest for wasmtime's sake.
pub(super) struct Own<I: Imports> {
    blueprint: Arc<Blueprint<I>>,
    /// Set once the instance is there.
    parts: Option<Parts>,
    runners: Runners,
    pub(super) watchdog: Option<Watchdog>,
}

#[derive(Clone, Copy)]
struct Parts {
    instance: Instance,
    memory: Memory,
}

impl<I: Imports> ResourceLimiter for Data<I> {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= self.max_memory)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= 1 << 20)
    }
}

/// Memory and imports of the instance that calls.
#[inline]
fn parts<'a, I: Imports>(caller: &'a mut Caller<'_, Data<I>>) -> Option<(&'a mut [u8], &'a mut I)> {
    // A start function may call before the memory is known.
    let memory = caller.data().own.parts?.memory;
    let (bytes, data) = memory.data_and_store_mut(caller);
    Some((bytes, &mut data.imports))
}

/// The five functions.
fn linker<I: Imports>(engine: &Engine) -> wasmtime::Result<Linker<Data<I>>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap(
        "env",
        "js_ext_table_set",
        |mut c: Caller<'_, Data<I>>, t: i32, k: i32, kl: i32, v: i32, vl: i32| {
            parts(&mut c).map_or(-1, |(memory, imports)| imports.set(memory, t, k, kl, v, vl))
        },
    )?;
    linker.func_wrap(
        "env",
        "js_ext_table_get",
        |mut c: Caller<'_, Data<I>>, t: i32, k: i32, kl: i32, v: i32, m: i32| {
            if t == 0 {
                return I::request(&mut At(c.as_context_mut()), k, kl, v, m);
            }
            parts(&mut c).map_or(-1, |(memory, imports)| imports.get(memory, t, k, kl, v, m))
        },
    )?;
    linker.func_wrap("env", "js_ext_table_delete", |mut c: Caller<'_, Data<I>>, t: i32, k: i32, kl: i32| {
        parts(&mut c).map_or(-1, |(memory, imports)| imports.delete(memory, t, k, kl))
    })?;
    linker.func_wrap("env", "js_ext_table_size", |mut c: Caller<'_, Data<I>>, t: i32| {
        parts(&mut c).map_or(0, |(_, imports)| imports.size(t))
    })?;
    linker.func_wrap("env", "js_ext_table_keys", |mut c: Caller<'_, Data<I>>, t: i32, b: i32, m: i32| {
        parts(&mut c).map_or(-1, |(memory, imports)| imports.keys(memory, t, b, m))
    })?;
    Ok(linker)
}

/// The exports that run scripts, once looked up.
#[derive(Default)]
struct Runners {
    two: [Option<TypedFunc<(i32, i32), i32>>; 5],
    compute_named: Option<TypedFunc<(i32, i32, i32), i32>>,
    resume: Option<TypedFunc<(i32,), i32>>,
}

/// A module that is ready to be instantiated.
struct Blueprint<I: Imports> {
    pre: InstancePre<Data<I>>,
    memory: ModuleExport,
    /// Where the exports are in the module.
    exports: Vec<Option<ModuleExport>>,
    /// How long one call may take, where the code is compiled with checks for that.
    longest_call: Option<Duration>,
}

impl<I: Imports> Blueprint<I> {
    /// Prepares our own guest, or somebody else's, which is checked first.
    fn new(module: &Module, longest_call: Option<Duration>) -> Result<Self> {
        check_imports(module)?;
        check_exports(module)?;
        let memory = module.get_export_index("memory").ok_or_else(|| refused("it exports no memory"))?;
        let linker = linker(module.engine()).map_err(|e| Error::internal(e.to_string()))?;
        let pre = linker.instantiate_pre(module).map_err(|e| refused(&e.to_string()))?;
        Ok(Blueprint {
            pre,
            memory,
            exports: Export::NAMES.iter().map(|name| module.get_export_index(name)).collect(),
            longest_call,
        })
    }

    fn export(&self, export: Export) -> Option<&ModuleExport> {
        self.exports.get(export as usize).and_then(Option::as_ref)
    }
}

fn refused(why: &str) -> Error {
    Error::invalid(format!("this is not a lua.wasm that luacell can run: {why}"))
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
            return Err(refused(&format!(
                "it imports {}.{name}, which is unknown or has another type",
                import.module()
            )));
        }
    }
    Ok(())
}

/// Revision 1 has to be there; what is there of revision 2 has to have the right type, which is checked at the first
/// call.
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

/// Called with each tick of the clock while the guest runs.
fn tick<I: Imports>(mut store: StoreContextMut<'_, Data<I>>) -> wasmtime::Result<UpdateDeadline> {
    let data = store.data_mut();
    let verdict = data.own.watchdog.as_mut().and_then(|watchdog| watchdog.verdict(&mut data.imports));
    match verdict {
        Some(kind) => Err(wasmtime::Error::new(Stopped(kind))),
        None => Ok(UpdateDeadline::Continue(1)),
    }
}

/// What a call that did not return means.
#[cold]
fn trap(error: &wasmtime::Error) -> Error {
    if let Some(stopped) = error.downcast_ref::<Stopped>() {
        return Error::new(stopped.0, stopped.to_string()).fatal();
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        // It has not begun: no stack was free for it.
        return Error::new(ErrorKind::Memory, format!("not enough memory for a run: {error}"));
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
    Error::new(ErrorKind::Memory, format!("can't make a sandbox: {error:#}"))
}

/// An instance.
pub(crate) struct Owned<I: Imports> {
    store: Store<Data<I>>,
}

impl<I: Imports> Owned<I> {
    fn new(blueprint: &Arc<Blueprint<I>>, imports: I, max_memory: usize) -> Result<Self, Box<NotStarted<I>>> {
        let own = Own {
            blueprint: Arc::clone(blueprint),
            parts: None,
            runners: Runners::default(),
            watchdog: blueprint.longest_call.map(Watchdog::new),
        };
        let mut store = Store::new(blueprint.pre.module().engine(), Data { imports, max_memory, own });
        store.limiter(|data| data);
        if blueprint.longest_call.is_some() {
            store.set_epoch_deadline(1);
            store.epoch_deadline_callback(tick);
        }
        match blueprint.pre.instantiate(&mut store) {
            Ok(instance) => {
                let memory =
                    instance.get_module_export(&mut store, &blueprint.memory).and_then(wasmtime::Extern::into_memory);
                store.data_mut().own.parts = memory.map(|memory| Parts { instance, memory });
                Ok(Owned { store })
            }
            Err(error) => Err(Box::new(NotStarted {
                error: not_started(&error),
                imports: store.into_data().imports,
                exhausted: error.is::<wasmtime::PoolConcurrencyLimitError>(),
            })),
        }
    }

    #[inline]
    pub(crate) fn at(&mut self) -> At<'_, I> {
        At(self.store.as_context_mut())
    }

    #[inline]
    pub(crate) fn data(&self) -> &Data<I> {
        self.store.data()
    }

    #[inline]
    pub(crate) fn data_mut(&mut self) -> &mut Data<I> {
        self.store.data_mut()
    }

    /// Ends the instance and gives back what outlives it.
    pub(crate) fn into_imports(self) -> I {
        self.store.into_data().imports
    }
}

/// An instance that somebody has at hand.
pub(crate) struct At<'a, I: Imports>(StoreContextMut<'a, Data<I>>);

impl<I: Imports> At<'_, I> {
    #[inline]
    pub(crate) fn reborrow(&mut self) -> At<'_, I> {
        At(self.0.as_context_mut())
    }

    #[inline]
    fn parts(&self) -> Result<Parts> {
        self.data().own.parts.ok_or_else(|| refused("it exports no memory"))
    }

    #[inline]
    fn before_call(&mut self) {
        if let Some(watchdog) = &mut self.data_mut().own.watchdog {
            watchdog.enter();
        }
    }

    #[inline]
    fn after_call(&mut self) {
        if let Some(watchdog) = &mut self.data_mut().own.watchdog {
            watchdog.leave();
        }
    }

    #[inline]
    fn invoke<P: Params, R: Answer>(&mut self, function: &TypedFunc<P, R>, params: P) -> Result<R> {
        self.before_call();
        let result = function.call(&mut self.0, params);
        self.after_call();
        result.map_err(|error| trap(&error))
    }

    #[cold]
    fn resolve<P: Params, R: Answer>(&mut self, export: Export) -> Result<TypedFunc<P, R>> {
        let missing = || Error::invalid(format!("this guest can't do that: it lacks the export {export:?}"));
        let instance = self.parts()?.instance;
        let blueprint = Arc::clone(&self.data().own.blueprint);
        let index = blueprint.export(export).ok_or_else(missing)?;
        let function =
            instance.get_module_export(&mut self.0, index).and_then(wasmtime::Extern::into_func).ok_or_else(missing)?;
        function
            .typed(&self.0)
            .map_err(|e| Error::internal(format!("the guest's export {export:?} has another type: {e}")))
    }

    /// The export, taken out of its place: a run inside this one looks it up again.
    #[inline]
    fn runner(&mut self, entry: Entry) -> Result<Runner> {
        let (at, args, export): (usize, _, _) = match entry {
            Entry::ComputeNamed { name_len, code_len, args_len } => {
                let function = match self.data_mut().own.runners.compute_named.take() {
                    Some(function) => function,
                    None => self.resolve(Export::compute_named)?,
                };
                return Ok(Runner::Three(function, (name_len, code_len, args_len)));
            }
            Entry::Resume { len } => {
                let function = match self.data_mut().own.runners.resume.take() {
                    Some(function) => function,
                    None => self.resolve(Export::resume)?,
                };
                return Ok(Runner::One(function, (len,)));
            }
            Entry::Compute { ptr, len } => (0, (ptr, len), Export::compute),
            Entry::Call { path_len, args_len } => (1, (path_len, args_len), Export::call),
            Entry::CallHandle { handle, args_len } => (2, (handle, args_len), Export::call_handle),
            Entry::RegisterFunction { name_len, id } => (3, (name_len, id), Export::register_function),
            Entry::UnregisterFunction { name_len, id } => (4, (name_len, id), Export::unregister_function),
        };
        let function = match self.data_mut().own.runners.two.get_mut(at).and_then(Option::take) {
            Some(function) => function,
            None => self.resolve(export)?,
        };
        Ok(Runner::Two(at, function, args))
    }

    /// Keeps the export for the next run.
    #[inline]
    fn keep_runner(&mut self, runner: Runner) {
        let runners = &mut self.data_mut().own.runners;
        match runner {
            Runner::Two(at, function, _) => {
                if let Some(place) = runners.two.get_mut(at) {
                    *place = Some(function);
                }
            }
            Runner::Three(function, _) => runners.compute_named = Some(function),
            Runner::One(function, _) => runners.resume = Some(function),
        }
    }
}

impl<I: Imports> Machine<I> for At<'_, I> {
    #[inline]
    fn data(&self) -> &Data<I> {
        self.0.data()
    }

    #[inline]
    fn data_mut(&mut self) -> &mut Data<I> {
        self.0.data_mut()
    }

    #[inline]
    fn memory(&self) -> Result<&[u8]> {
        Ok(self.parts()?.memory.data(&self.0))
    }

    #[inline]
    fn memory_and_data(&mut self) -> Result<(&mut [u8], &mut Data<I>)> {
        let memory = self.parts()?.memory;
        Ok(memory.data_and_store_mut(&mut self.0))
    }

    fn grow(&mut self, pages: u64) -> Result<()> {
        let grown = self.parts()?.memory.grow(&mut self.0, pages);
        grown
            .map_err(|e| Error::new(ErrorKind::Memory, format!("not enough memory for the sandbox: {e:#}")).fatal())?;
        Ok(())
    }

    #[inline]
    fn offers(&self, export: Export) -> bool {
        self.data().own.blueprint.export(export).is_some()
    }

    fn call<P: Params, R: Answer>(&mut self, export: Export, params: P) -> Result<R> {
        let function = self.resolve(export)?;
        self.invoke(&function, params)
    }

    #[inline]
    fn execute(&mut self, entry: Entry) -> Result<i32> {
        let runner = self.runner(entry)?;
        let result = match &runner {
            Runner::Two(_, function, args) => self.invoke(function, *args),
            Runner::Three(function, args) => self.invoke(function, *args),
            Runner::One(function, args) => self.invoke(function, *args),
        };
        self.keep_runner(runner);
        result
    }
}

/// The export that an [`Entry`] calls.
enum Runner {
    Two(usize, TypedFunc<(i32, i32), i32>, (i32, i32)),
    Three(TypedFunc<(i32, i32, i32), i32>, (i32, i32, i32)),
    One(TypedFunc<(i32,), i32>, (i32,)),
}
