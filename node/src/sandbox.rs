//! One sandbox, as the TypeScript side sees it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use luacell::wire::{self, Handles as _};
use luacell::{
    Canceller, ComputeOptions, Engine, Error, Outcome, RestoreOptions, Run, Sandbox, StoredTable, Value, threads,
};
use napi::Env;
use napi::bindgen_prelude::{Either, ObjectFinalize};
use napi_derive::napi;

use crate::bridge::{self, Bridge, Caller, Connection, Topic};
use crate::config::{NativeEngine, RunSettings, SandboxSettings};
use crate::failure::{Failure, Finished};
use crate::handles::Handles;
use crate::hot_calls;
use crate::jobs;
use crate::run::NativeRun;
use crate::snapshot::NativeSnapshot;
use crate::value::{FromJs, ToJs};

/// JavaScript's garbage collector is told what a sandbox weighs, so that forgotten ones are found in time: when that
/// has changed by so much.
const STEP: i64 = 64 << 10;

/// Memory of a sandbox.
#[napi(object)]
pub struct MemoryNumbers {
    /// Bytes.
    pub buffer_bytes: f64,
    /// Bytes.
    pub lua_bytes: f64,
    /// Bytes.
    pub wasm_bytes: f64,
}

/// A durable run that waits in the store.
#[napi(object, object_from_js = false)]
pub struct PendingRunParts {
    /// Its name.
    pub name: String,
    /// For so many milliseconds it is somebody's.
    pub claimed: Option<f64>,
}

/// One sandbox. Values are simple ones as themselves, or encoded; an error is what comes back as a plain object.
#[napi(custom_finalize)]
pub struct NativeSandbox {
    inner: Arc<Inner>,
    slot: u32,
}

pub struct Inner {
    pub(crate) sandbox: Sandbox,
    pub(crate) handles: Arc<Handles>,
    caller: Arc<Caller>,
    /// Runs on other threads.
    jobs: Mutex<HashMap<u32, Canceller>>,
    /// What the garbage collector believes that it weighs.
    reported_weight: AtomicI64,
}

pub(crate) type Source<'a> = Either<String, &'a [u8]>;

pub(crate) fn bytes<'a>(source: &'a Source<'_>) -> &'a [u8] {
    match source {
        Either::A(text) => text.as_bytes(),
        Either::B(bytes) => bytes,
    }
}

fn text(source: &Source<'_>) -> String {
    String::from_utf8_lossy(bytes(source)).into_owned()
}

impl Inner {
    fn jobs(&self) -> MutexGuard<'_, HashMap<u32, Canceller>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what runs, also what has not begun yet.
    fn interrupt(&self) {
        let jobs: Vec<Canceller> = self.jobs().values().cloned().collect();
        jobs.iter().for_each(Canceller::cancel);
        self.sandbox.interrupt();
    }

    /// Tells the garbage collector what it weighs now. On JavaScript's thread.
    pub(crate) fn weigh(&self) {
        let now = i64::try_from(self.sandbox.weight()).unwrap_or(i64::MAX);
        let change = now - self.reported_weight.load(Ordering::Relaxed);
        if (now == 0 || change.abs() >= STEP)
            && change != 0
            && let Some(env) = bridge::env()
            && env.adjust_external_memory(change).is_ok()
        {
            self.reported_weight.store(now, Ordering::Relaxed);
        }
    }

    /// Something on another thread begins.
    pub(crate) fn begin_job(&self, job: u32, canceller: &Canceller) {
        self.jobs().insert(job, canceller.clone());
    }

    /// Something on another thread has ended.
    pub(crate) fn tell(&self, job: u32, result: ToJs) {
        self.jobs().remove(&job);
        self.caller.bridge.send(Topic::Done, self.caller.sandbox, job, 0, result);
    }

    pub(crate) fn out(&self, result: Result<Outcome, Error>) -> ToJs {
        match result {
            Ok(outcome) => ToJs::results(&outcome.values, &self.handles, self.caller.exact),
            Err(error) => ToJs::failed(&error, &self.handles),
        }
    }

    pub(crate) fn one(&self, result: Result<Value, Error>) -> ToJs {
        match result {
            Ok(value) => ToJs::value(&value, &self.handles, self.caller.exact),
            Err(error) => ToJs::failed(&error, &self.handles),
        }
    }

    pub(crate) fn done(&self, result: Result<(), Error>) -> ToJs {
        match result {
            Ok(()) => ToJs::Nothing,
            Err(error) => ToJs::failed(&error, &self.handles),
        }
    }

    /// Arguments that refer to nothing go to Lua as they are; `linked` says that they do refer to functions or tables.
    pub(crate) fn options(
        &self,
        args: Option<&[u8]>,
        linked: bool,
        settings: Option<RunSettings>,
    ) -> Result<ComputeOptions, Error> {
        let options = settings.map_or_else(ComputeOptions::new, RunSettings::options);
        match args {
            Some(args) if linked => Ok(options.args(wire::decode(args, &*self.handles)?)),
            Some(args) => Ok(options.encoded_args(args)),
            None => Ok(options),
        }
    }

    pub(crate) fn table(&self, id: u32) -> Result<StoredTable, Error> {
        let gone = || Error::new(luacell::ErrorKind::Closed, "the view of the table was given up");
        self.handles.table(id).ok_or_else(gone)
    }

    fn start(&self, is_call: bool, source: &[u8], options: ComputeOptions) -> Result<Run, Error> {
        if is_call {
            self.sandbox.start_call(&String::from_utf8_lossy(source), options)
        } else {
            self.sandbox.start(source, options)
        }
    }

    fn started(self: &Arc<Self>, run: Result<Run, Error>, canceller: Canceller) -> ToJs {
        match run {
            Ok(run) => ToJs::Run(Box::new(NativeRun::new(self, canceller, run))),
            Err(error) => ToJs::failed(&error, &self.handles),
        }
    }

    /// The sandbox was restored: its tables are others now.
    fn keep_new_tables(&self) {
        self.handles.forget_tables();
        self.handles.keep_table(&self.sandbox.home());
    }

    /// With `full`, output and metrics are wanted too.
    pub(crate) fn run(&self, result: Result<Outcome, Error>, full: bool) -> ToJs {
        match result {
            Ok(outcome) if full => Finished::of(&outcome, &self.handles),
            result => self.out(result),
        }
    }
}

impl Inner {
    fn new(bridge: Arc<Bridge>, engine: &Engine, settings: SandboxSettings) -> Result<Arc<Self>, Box<Failure>> {
        let handles = Arc::new(Handles::new(Some(&bridge)));
        let (number, exact) = (settings.number, settings.exact);
        let sandbox =
            engine.sandbox(settings.config(&bridge, &handles)).map_err(|e| Box::new(Failure::of(&e, &handles)))?;
        handles.keep_table(&sandbox.home());
        let caller = Arc::new(Caller { bridge, handles: Arc::clone(&handles), sandbox: number, exact });
        sandbox.set_language_data(Arc::<Caller>::clone(&caller));
        let (jobs, reported_weight) = (Mutex::default(), AtomicI64::new(0));
        Ok(Arc::new(Inner { sandbox, handles, caller, jobs, reported_weight }))
    }
}

impl NativeSandbox {
    /// On JavaScript's thread.
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        inner.weigh();
        NativeSandbox { slot: hot_calls::add(&inner), inner }
    }
}

#[napi]
impl NativeSandbox {
    /// A new sandbox, or what is wrong.
    #[napi(ts_return_type = "NativeSandbox | Failure")]
    pub fn create(
        connection: &Connection,
        engine: Option<&NativeEngine>,
        settings: SandboxSettings,
    ) -> napi::Result<Either<NativeSandbox, Failure>> {
        let engine = engine.map_or_else(Engine::default, |engine| engine.0.clone());
        Ok(match Inner::new(Arc::clone(&connection.0), &engine, settings) {
            Ok(inner) => Either::A(NativeSandbox::new(inner)),
            Err(failure) => Either::B(*failure),
        })
    }

    /// As `create`, on another thread, because opening a store may take long; the result comes as a note of this job.
    /// The store can't be JavaScript's.
    #[napi(ts_return_type = "unknown")]
    pub fn create_later(
        connection: &Connection,
        job: u32,
        engine: Option<&NativeEngine>,
        settings: SandboxSettings,
    ) -> ToJs {
        let (bridge, number) = (Arc::clone(&connection.0), settings.number);
        let engine = engine.map_or_else(Engine::default, |engine| engine.0.clone());
        let started = threads::start(move || {
            let made = Inner::new(Arc::clone(&bridge), &engine, settings);
            let made = made.map_or_else(ToJs::Failed, ToJs::Sandbox);
            bridge.send(Topic::Done, number, job, 0, made);
        });
        started.map_or_else(|error| ToJs::failed(&error, &Handles::new(None)), |()| ToJs::Nothing)
    }

    /// Runs source, or calls a function, on other threads; the result comes as a note of this job.
    #[allow(clippy::too_many_arguments, reason = "an object of them would cost a call for each")]
    #[napi(ts_return_type = "unknown")]
    pub fn run_later(
        &self,
        job: u32,
        is_call: bool,
        source: Source<'_>,
        args: Option<&[u8]>,
        linked: bool,
        settings: Option<RunSettings>,
        full: bool,
    ) -> ToJs {
        let canceller = Canceller::new();
        let options = match self.inner.options(args, linked, settings) {
            Ok(options) => options.canceller(&canceller),
            Err(error) => return ToJs::failed(&error, &self.inner.handles),
        };
        self.inner.begin_job(job, &canceller);
        let (inner, sandbox) = (Arc::clone(&self.inner), &self.inner.sandbox);
        let done = move |result| inner.tell(job, inner.run(result, full));
        if is_call {
            threads::drive(&canceller, jobs::for_this_thread(sandbox.call_async(text(&source), options)), done);
        } else {
            threads::drive(&canceller, jobs::for_this_thread(sandbox.compute_async(bytes(&source), options)), done);
        }
        ToJs::Nothing
    }

    /// Starts a run; it, or why it could not begin.
    #[napi(ts_return_type = "NativeRun | Failure")]
    pub fn start(
        &self,
        is_call: bool,
        source: Source<'_>,
        args: Option<&[u8]>,
        linked: bool,
        settings: Option<RunSettings>,
    ) -> ToJs {
        let canceller = Canceller::new();
        let run = self
            .inner
            .options(args, linked, settings)
            .and_then(|options| self.inner.start(is_call, bytes(&source), options.canceller(&canceller)));
        self.inner.weigh();
        self.inner.started(run, canceller)
    }

    /// As `start`, on another thread; the run comes as a note of this job.
    #[napi(ts_return_type = "unknown")]
    pub fn start_later(
        &self,
        job: u32,
        is_call: bool,
        source: Source<'_>,
        args: Option<&[u8]>,
        linked: bool,
        settings: Option<RunSettings>,
    ) -> ToJs {
        let canceller = Canceller::new();
        let options = match self.inner.options(args, linked, settings) {
            Ok(options) => options.canceller(&canceller),
            Err(error) => return ToJs::failed(&error, &self.inner.handles),
        };
        self.inner.begin_job(job, &canceller);
        let source = bytes(&source).to_vec();
        let inner = Arc::clone(&self.inner);
        let thread = std::thread::current().id();
        threads::spawn(&canceller.clone(), move |place| {
            let run = place.and_then(|()| threads::work_for(thread, || inner.start(is_call, &source, options)));
            inner.tell(job, inner.started(run, canceller));
        });
        ToJs::Nothing
    }

    /// The run that came with a snapshot, or nothing.
    #[napi(ts_return_type = "NativeRun | Failure | undefined")]
    pub fn waiting_run(&self) -> ToJs {
        match self.inner.sandbox.waiting_run() {
            Ok(None) => ToJs::Nothing,
            Ok(Some(run)) => self.inner.started(Ok(run), Canceller::new()),
            Err(error) => ToJs::failed(&error, &self.inner.handles),
        }
    }

    /// Goes on with a durable run.
    #[napi(ts_return_type = "NativeRun | Failure")]
    pub fn resume(&self, name: String) -> ToJs {
        let run = self.inner.sandbox.resume(&name);
        if run.is_ok() {
            self.inner.keep_new_tables();
        }
        self.inner.started(run, Canceller::new())
    }

    /// The durable runs that wait in the store.
    #[napi]
    pub fn pending_runs(&self) -> Either<Vec<PendingRunParts>, Failure> {
        match self.inner.sandbox.pending_runs() {
            Ok(runs) => Either::A(
                runs.into_iter()
                    .map(|run| PendingRunParts {
                        name: run.name,
                        claimed: run.claimed.map(|time| time.as_secs_f64() * 1000.0),
                    })
                    .collect(),
            ),
            Err(error) => Either::B(Failure::of(&error, &self.inner.handles)),
        }
    }

    /// Removes a durable run from the store.
    #[napi(ts_return_type = "unknown")]
    pub fn drop_pending_run(&self, name: String) -> ToJs {
        self.inner.one(self.inner.sandbox.drop_pending_run(&name).map(Value::from))
    }

    /// Ends a run on another thread, also when it has not begun yet.
    #[napi]
    pub fn cancel(&self, job: u32) {
        let canceller = self.inner.jobs().get(&job).cloned();
        if let Some(canceller) = canceller {
            canceller.cancel();
        }
    }

    /// Tells the garbage collector what it weighs after a run on another thread.
    #[napi]
    pub fn weigh(&self) {
        self.inner.weigh();
    }

    /// Makes JavaScript's function of that number callable.
    #[napi(ts_return_type = "unknown")]
    pub fn register(&self, name: String, number: u32, repeatable: bool) -> ToJs {
        let caller = Arc::clone(&self.inner.caller);
        let function = move |args| caller.call(number, args);
        let sandbox = &self.inner.sandbox;
        self.inner.done(if repeatable {
            sandbox.register_async_repeatable(&name, function)
        } else {
            sandbox.register_async(&name, function)
        })
    }

    /// Makes the name a function whose calls become requests.
    #[napi(ts_return_type = "unknown")]
    pub fn declare(&self, name: String) -> ToJs {
        self.inner.done(self.inner.sandbox.declare(&name))
    }

    /// Takes a host function away.
    #[napi(ts_return_type = "unknown")]
    pub fn unregister(&self, name: String) -> ToJs {
        self.inner.one(self.inner.sandbox.unregister(&name).map(Value::from))
    }

    /// Ends what runs.
    #[napi]
    pub fn interrupt(&self) {
        self.inner.interrupt();
    }

    /// `_io.input`, `output` or `meta`.
    #[napi(ts_return_type = "unknown")]
    pub fn io_get(&self, which: u32) -> ToJs {
        self.inner.one(match which {
            0 => self.inner.sandbox.input(),
            1 => self.inner.sandbox.output(),
            _ => self.inner.sandbox.meta(),
        })
    }

    /// Sets `_io.input`, `output` or `meta`.
    #[napi(ts_return_type = "unknown")]
    pub fn io_set(&self, which: u32, #[napi(ts_arg_type = "unknown")] value: FromJs) -> ToJs {
        self.inner.done(value.value(&self.inner.handles).and_then(|value| match which {
            0 => self.inner.sandbox.set_input(value),
            1 => self.inner.sandbox.set_output(value),
            _ => self.inner.sandbox.set_meta(value),
        }))
    }

    /// Removes all three.
    #[napi(ts_return_type = "unknown")]
    pub fn clear_io(&self) -> ToJs {
        self.inner.done(self.inner.sandbox.clear_io())
    }

    /// Its number in the functions of `hot_calls.rs`.
    #[napi(getter)]
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Removes everything.
    #[napi(ts_return_type = "unknown")]
    pub fn table_clear(&self, table: u32) -> ToJs {
        self.inner.done(self.inner.table(table).and_then(|table| table.clear()))
    }

    /// The number of entries.
    #[napi(ts_return_type = "unknown")]
    pub fn table_size(&self, table: u32) -> ToJs {
        match self.inner.table(table).and_then(|table| table.len()) {
            Ok(n) => ToJs::Number(n as f64),
            Err(error) => ToJs::failed(&error, &self.inner.handles),
        }
    }

    /// All keys, encoded.
    #[napi(ts_return_type = "unknown")]
    pub fn table_keys(&self, table: u32) -> ToJs {
        match self.inner.table(table).and_then(|table| table.keys()) {
            Ok(keys) => ToJs::values(&keys, &self.inner.handles),
            Err(error) => ToJs::failed(&error, &self.inner.handles),
        }
    }

    /// Key, value, key, value ..., encoded.
    #[napi(ts_return_type = "unknown")]
    pub fn table_entries(&self, table: u32) -> ToJs {
        match self.inner.table(table).and_then(|table| table.entries()) {
            Ok(entries) => {
                let all: Vec<Value> = entries.into_iter().flat_map(|(key, value)| [key, value]).collect();
                ToJs::values(&all, &self.inner.handles)
            }
            Err(error) => ToJs::failed(&error, &self.inner.handles),
        }
    }

    /// A copy as a table by value, encoded.
    #[napi(ts_return_type = "unknown")]
    pub fn table_copy(&self, table: u32) -> ToJs {
        self.inner.one(self.inner.table(table).and_then(|table| table.to_table()).map(Value::from))
    }

    /// JavaScript gives up a function.
    #[napi]
    pub fn release_function(&self, number: u32, times: u32) {
        self.inner.handles.release_function(number, times);
    }

    /// JavaScript gives up the view of a table.
    #[napi]
    pub fn release_table(&self, number: u32) {
        self.inner.handles.release_table(number);
    }

    /// How much memory is in use.
    #[napi]
    pub fn memory_stats(&self) -> Either<MemoryNumbers, Failure> {
        match self.inner.sandbox.memory_stats() {
            Ok(stats) => Either::A(MemoryNumbers {
                buffer_bytes: stats.buffer_bytes as f64,
                lua_bytes: stats.lua_bytes as f64,
                wasm_bytes: stats.wasm_bytes as f64,
            }),
            Err(error) => Either::B(Failure::of(&error, &self.inner.handles)),
        }
    }

    /// How many tables the store holds.
    #[napi(ts_return_type = "unknown")]
    pub fn table_count(&self) -> ToJs {
        match self.inner.sandbox.table_count() {
            Ok(count) => count.map_or(ToJs::Nothing, |n| ToJs::Number(n as f64)),
            Err(error) => ToJs::failed(&error, &self.inner.handles),
        }
    }

    /// A copy of everything.
    #[napi]
    pub fn snapshot(&self) -> Either<NativeSnapshot, Failure> {
        match self.inner.sandbox.snapshot() {
            Ok(snapshot) => Either::A(NativeSnapshot(snapshot)),
            Err(error) => Either::B(Failure::of(&error, &self.inner.handles)),
        }
    }

    /// Makes everything as it was. `fork`: this is a new sandbox that becomes what another one is, whatever its size.
    #[napi(ts_return_type = "unknown")]
    pub fn restore(&self, snapshot: &NativeSnapshot, tables: Option<bool>, fork: Option<bool>) -> ToJs {
        let mut options = RestoreOptions::new();
        if let Some(tables) = tables {
            options = options.tables(tables);
        }
        if fork == Some(true) {
            options = options.whatever_size();
        }
        let result = self.inner.sandbox.restore_with(&snapshot.0, &options);
        if result.is_ok() {
            self.inner.keep_new_tables();
        }
        self.inner.done(result)
    }

    /// Collects garbage.
    #[napi(ts_return_type = "unknown")]
    pub fn gc(&self) -> ToJs {
        self.inner.done(self.inner.sandbox.gc())
    }

    /// Starts Lua anew.
    #[napi(ts_return_type = "unknown")]
    pub fn reset(&self) -> ToJs {
        self.inner.done(self.inner.sandbox.reset())
    }

    /// Ends the sandbox, which no other thread uses.
    #[napi]
    pub fn close(&self) {
        self.inner.sandbox.close();
        self.inner.weigh();
    }

    /// Ends the sandbox when other threads have done with it, which takes a thread: JavaScript's may not wait, for they
    /// may wait for it. That it has ended comes as a note of this job.
    #[napi(ts_return_type = "unknown")]
    pub fn close_later(&self, job: u32) -> ToJs {
        let inner = Arc::clone(&self.inner);
        self.inner.done(threads::start(move || {
            inner.sandbox.close();
            inner.tell(job, ToJs::Nothing);
        }))
    }
}

impl ObjectFinalize for NativeSandbox {
    /// JavaScript has forgotten it, or its environment ends. What still runs somewhere has its own share of it.
    fn finalize(self, env: Env) -> napi::Result<()> {
        hot_calls::remove(self.slot);
        self.inner.interrupt();
        env.adjust_external_memory(-self.inner.reported_weight.swap(0, Ordering::Relaxed)).map(drop)
    }
}
