//! One sandbox, as the TypeScript side sees it.

use std::cell::Cell;
use std::sync::Arc;

use luacell::wire::{self, Peer};
use luacell::{ComputeOptions, Engine, Error, Outcome, Sandbox, StoredTable, Value};
use napi::Env;
use napi::bindgen_prelude::{Either, ObjectFinalize};
use napi_derive::napi;

use crate::bridge::{Bridge, Connection, Topic, host_function};
use crate::config::{NativeEngine, RunSettings, SandboxSettings};
use crate::failure::{Failure, Finished};
use crate::handles::Handles;
use crate::jobs;
use crate::quick;
use crate::snapshot::NativeSnapshot;
use crate::value::{In, Out};

/// What JavaScript's garbage collector is told that a sandbox weighs, so that forgotten ones are found in time.
const WEIGHT: i64 = 256 << 10;

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

/// One sandbox. Values are simple ones as themselves, or encoded; an error is what comes back as a plain object.
#[napi(custom_finalize)]
pub struct NativeSandbox {
    inner: Arc<Inner>,
    slot: u32,
    /// Whether the garbage collector counts it.
    weighs: Cell<bool>,
}

pub(crate) struct Inner {
    pub(crate) sandbox: Sandbox,
    pub(crate) handles: Arc<Handles>,
    bridge: Arc<Bridge>,
    number: u32,
    exact: bool,
}

pub(crate) type Source<'a> = Either<String, &'a [u8]>;

pub(crate) fn bytes<'a>(source: &'a Source<'_>) -> &'a [u8] {
    match source {
        Either::A(text) => text.as_bytes(),
        Either::B(bytes) => bytes,
    }
}

impl Inner {
    pub(crate) fn out(&self, result: Result<Outcome, Error>) -> Out {
        match result {
            Ok(outcome) => Out::results(&outcome.values, &self.handles, self.exact),
            Err(error) => Out::failed(&error, &self.handles),
        }
    }

    pub(crate) fn one(&self, result: Result<Value, Error>) -> Out {
        match result {
            Ok(value) => Out::value(&value, &self.handles, self.exact),
            Err(error) => Out::failed(&error, &self.handles),
        }
    }

    pub(crate) fn done(&self, result: Result<(), Error>) -> Out {
        match result {
            Ok(()) => Out::Nothing,
            Err(error) => Out::failed(&error, &self.handles),
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

    /// With `full`, output and metrics are wanted too.
    pub(crate) fn run(&self, result: Result<Outcome, Error>, full: bool) -> Out {
        match result {
            Ok(outcome) if full => Finished::of(&outcome, &self.handles),
            result => self.out(result),
        }
    }
}

impl Inner {
    fn new(bridge: Arc<Bridge>, engine: &Engine, settings: SandboxSettings) -> Result<Arc<Self>, Failure> {
        let handles = Arc::new(Handles::new());
        let (number, exact) = (settings.number, settings.exact);
        let sandbox =
            engine.sandbox(settings.config(&bridge, &handles)).map_err(|error| Failure::of(&error, &handles))?;
        handles.keep_table(&sandbox.home());
        Ok(Arc::new(Inner { sandbox, handles, bridge, number, exact }))
    }
}

impl NativeSandbox {
    pub(crate) fn new(env: &Env, inner: Arc<Inner>) -> napi::Result<Self> {
        env.adjust_external_memory(WEIGHT)?;
        Ok(NativeSandbox { slot: quick::add(&inner), inner, weighs: Cell::new(true) })
    }
}

#[napi]
impl NativeSandbox {
    /// A new sandbox, or what is wrong.
    #[napi(ts_return_type = "NativeSandbox | Failure")]
    pub fn create(
        env: Env,
        connection: &Connection,
        engine: Option<&NativeEngine>,
        settings: SandboxSettings,
    ) -> napi::Result<Either<NativeSandbox, Failure>> {
        let engine = engine.map_or_else(Engine::default, |engine| engine.0.clone());
        Ok(match Inner::new(Arc::clone(&connection.0), &engine, settings) {
            Ok(inner) => Either::A(NativeSandbox::new(&env, inner)?),
            Err(failure) => Either::B(failure),
        })
    }

    /// As `create`, on another thread, because opening a store may take long; the result comes as a note of this job. The store can't be JavaScript's.
    #[napi]
    pub fn create_later(connection: &Connection, job: u32, engine: Option<&NativeEngine>, settings: SandboxSettings) {
        let (bridge, number) = (Arc::clone(&connection.0), settings.number);
        let engine = engine.map_or_else(Engine::default, |engine| engine.0.clone());
        jobs::spawn(move || {
            let made = Inner::new(Arc::clone(&bridge), &engine, settings);
            let made = made.map_or_else(|failure| Out::Failed(Box::new(failure)), Out::Sandbox);
            bridge.send(Topic::Done, number, job, 0, made);
        });
    }

    /// Runs source, or calls a function, on another thread; the result comes as a note of this job.
    #[allow(clippy::too_many_arguments, reason = "an object of them would cost a call for each")]
    #[napi(ts_return_type = "unknown")]
    pub fn start(
        &self,
        job: u32,
        is_call: bool,
        source: Source<'_>,
        args: Option<&[u8]>,
        linked: bool,
        settings: Option<RunSettings>,
        full: bool,
    ) -> Out {
        let options = match self.inner.options(args, linked, settings) {
            Ok(options) => options,
            Err(error) => return Out::failed(&error, &self.inner.handles),
        };
        let inner = Arc::clone(&self.inner);
        let source = bytes(&source).to_vec();
        jobs::spawn(move || {
            let result = if is_call {
                inner.sandbox.call_with(&String::from_utf8_lossy(&source), options)
            } else {
                inner.sandbox.compute_with(source, options)
            };
            inner.bridge.send(Topic::Done, inner.number, job, 0, inner.run(result, full));
        });
        Out::Nothing
    }

    /// Makes JavaScript's function of that number callable.
    #[napi(ts_return_type = "unknown")]
    pub fn register(&self, name: String, number: u32) -> Out {
        let function =
            host_function(&self.inner.bridge, &self.inner.handles, self.inner.number, number, self.inner.exact);
        self.inner.done(self.inner.sandbox.register_async(&name, function))
    }

    /// Takes a host function away.
    #[napi(ts_return_type = "unknown")]
    pub fn unregister(&self, name: String) -> Out {
        self.inner.one(self.inner.sandbox.unregister(&name).map(Value::from))
    }

    /// Ends what runs.
    #[napi]
    pub fn interrupt(&self) {
        self.inner.sandbox.interrupt();
    }

    /// `_io.input`, `output` or `meta`.
    #[napi(ts_return_type = "unknown")]
    pub fn io_get(&self, which: u32) -> Out {
        self.inner.one(match which {
            0 => self.inner.sandbox.input(),
            1 => self.inner.sandbox.output(),
            _ => self.inner.sandbox.meta(),
        })
    }

    /// Sets `_io.input`, `output` or `meta`.
    #[napi(ts_return_type = "unknown")]
    pub fn io_set(&self, which: u32, #[napi(ts_arg_type = "unknown")] value: In) -> Out {
        self.inner.done(value.value(&self.inner.handles).and_then(|value| match which {
            0 => self.inner.sandbox.set_input(value),
            1 => self.inner.sandbox.set_output(value),
            _ => self.inner.sandbox.set_meta(value),
        }))
    }

    /// Removes all three.
    #[napi(ts_return_type = "unknown")]
    pub fn clear_io(&self) -> Out {
        self.inner.done(self.inner.sandbox.clear_io())
    }

    /// Its number in the functions of `quick.rs`.
    #[napi(getter)]
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Removes everything.
    #[napi(ts_return_type = "unknown")]
    pub fn table_clear(&self, table: u32) -> Out {
        self.inner.done(self.inner.table(table).and_then(|table| table.clear()))
    }

    /// The number of entries.
    #[napi(ts_return_type = "unknown")]
    pub fn table_size(&self, table: u32) -> Out {
        match self.inner.table(table).and_then(|table| table.len()) {
            Ok(n) => Out::Number(n as f64),
            Err(error) => Out::failed(&error, &self.inner.handles),
        }
    }

    /// All keys, encoded.
    #[napi(ts_return_type = "unknown")]
    pub fn table_keys(&self, table: u32) -> Out {
        match self.inner.table(table).and_then(|table| table.keys()) {
            Ok(keys) => Out::values(&keys, &self.inner.handles),
            Err(error) => Out::failed(&error, &self.inner.handles),
        }
    }

    /// Key, value, key, value ..., encoded.
    #[napi(ts_return_type = "unknown")]
    pub fn table_entries(&self, table: u32) -> Out {
        match self.inner.table(table).and_then(|table| table.entries()) {
            Ok(entries) => {
                let all: Vec<Value> = entries.into_iter().flat_map(|(key, value)| [key, value]).collect();
                Out::values(&all, &self.inner.handles)
            }
            Err(error) => Out::failed(&error, &self.inner.handles),
        }
    }

    /// A copy as a table by value, encoded.
    #[napi(ts_return_type = "unknown")]
    pub fn table_copy(&self, table: u32) -> Out {
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
    pub fn table_count(&self) -> Out {
        match self.inner.sandbox.table_count() {
            Ok(count) => count.map_or(Out::Nothing, |n| Out::Number(n as f64)),
            Err(error) => Out::failed(&error, &self.inner.handles),
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

    /// Makes everything as it was.
    #[napi(ts_return_type = "unknown")]
    pub fn restore(&self, snapshot: &NativeSnapshot) -> Out {
        let result = self.inner.sandbox.restore(&snapshot.0);
        if result.is_ok() {
            self.inner.handles.forget_tables();
            self.inner.handles.keep_table(&self.inner.sandbox.home());
        }
        self.inner.done(result)
    }

    /// Collects garbage.
    #[napi(ts_return_type = "unknown")]
    pub fn gc(&self) -> Out {
        self.inner.done(self.inner.sandbox.gc())
    }

    /// Starts Lua anew.
    #[napi(ts_return_type = "unknown")]
    pub fn reset(&self) -> Out {
        self.inner.done(self.inner.sandbox.reset())
    }

    /// Ends the sandbox.
    #[napi]
    pub fn close(&self, env: Env) -> napi::Result<()> {
        self.inner.sandbox.close();
        if self.weighs.replace(false) {
            env.adjust_external_memory(-WEIGHT)?;
        }
        Ok(())
    }
}

impl ObjectFinalize for NativeSandbox {
    /// JavaScript has forgotten it, or its environment ends.
    fn finalize(self, env: Env) -> napi::Result<()> {
        quick::remove(self.slot);
        self.inner.sandbox.interrupt();
        self.close(env)
    }
}
