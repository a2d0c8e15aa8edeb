//! Settings as they come from JavaScript.

use std::sync::Arc;
use std::time::Duration;

use luacell::{ComputeOptions, EngineConfig, Folder, LuaString, Module, SandboxConfig, StoreLimit, Value};
use napi::bindgen_prelude::BigInt;
use napi_derive::napi;

use crate::bridge::{Bridge, Topic};
use crate::handles::Handles;
use crate::store::OwnStore;
use crate::value::ToJs;

/// Limits; `Infinity` for none.
#[napi(object)]
#[derive(Default)]
pub struct LimitSettings {
    /// Bytes.
    pub memory: Option<f64>,
    /// Instructions.
    pub instructions: Option<f64>,
    /// Milliseconds.
    pub timeout: Option<f64>,
    /// Bytes.
    pub output: Option<f64>,
    /// Bytes.
    pub store_bytes: Option<f64>,
    /// Entries.
    pub store_entries: Option<f64>,
    /// Calls.
    pub host_calls: Option<f64>,
    /// Bytes.
    pub source: Option<f64>,
}

fn duration(milliseconds: f64) -> Option<Duration> {
    // What is too long to say is no limit.
    Duration::try_from_secs_f64(milliseconds / 1000.0).ok()
}

/// Sandboxes and runs are given limits by methods of the same names.
macro_rules! apply_limits {
    ($limits:expr, $config:expr) => {{
        let mut config = $config;
        let limits = $limits;
        // Whole numbers; what is larger than any is the largest.
        if let Some(n) = limits.memory {
            config = config.memory_limit(n as u64);
        }
        if let Some(n) = limits.instructions {
            config = config.instruction_limit(n as u64);
        }
        if let Some(n) = limits.timeout {
            config = config.timeout(duration(n));
        }
        if let Some(n) = limits.output {
            config = config.output_limit(n as u64);
        }
        if let Some(bytes) = limits.store_bytes {
            config =
                config.store_limit(StoreLimit::new(bytes as u64, limits.store_entries.map_or(u64::MAX, |n| n as u64)));
        }
        if let Some(n) = limits.host_calls {
            config = config.host_call_limit(n as u64);
        }
        if let Some(n) = limits.source {
            config = config.source_limit(n as u64);
        }
        config
    }};
}

/// Settings of a run.
#[napi(object)]
#[derive(Default)]
pub struct RunSettings {
    /// The chunk's name.
    pub name: Option<String>,
    /// Limits of this run.
    pub limits: Option<LimitSettings>,
    /// Its name in the store.
    pub durable: Option<String>,
}

impl RunSettings {
    pub(crate) fn options(self) -> ComputeOptions {
        let options = apply_limits!(self.limits.unwrap_or_default(), ComputeOptions::new());
        let options = options.name(self.name.unwrap_or_default());
        match self.durable {
            Some(name) => options.durable(name),
            None => options,
        }
    }
}

/// Settings of a sandbox.
#[napi(object)]
pub struct SandboxSettings {
    /// Its number, by which JavaScript is told whom something is about.
    pub number: u32,
    /// Its limits.
    pub limits: Option<LimitSettings>,
    /// Path or URL of its store.
    pub store: Option<String>,
    /// Whether the store is JavaScript's.
    pub own_store: bool,
    /// How often runs are repeated.
    pub conflict_retries: Option<u32>,
    /// How long a durable run is claimed for, in milliseconds.
    pub claim_term: Option<f64>,
    /// Whether runs on one store take turns.
    pub queue_runs: Option<bool>,
    /// Whether `_home` is also `Memory`.
    pub memory_alias: Option<bool>,
    /// Whether functions come from the store.
    pub stored_functions: Option<bool>,
    /// Whether JavaScript gets what is printed.
    pub print: bool,
    /// The folder of modules.
    pub module_folder: Option<String>,
    /// Whether JavaScript is asked for modules.
    pub own_modules: bool,
    /// The seed of a deterministic sandbox.
    pub seed: Option<BigInt>,
    /// Whether integers and floats are kept apart.
    pub exact: bool,
}

impl SandboxSettings {
    pub(crate) fn config(self, bridge: &Arc<Bridge>, handles: &Arc<Handles>) -> SandboxConfig {
        let number = self.number;
        let mut config = apply_limits!(self.limits.unwrap_or_default(), SandboxConfig::new());
        if let Some(store) = self.store {
            config = config.store(store);
        }
        if self.own_store {
            config = config.store(OwnStore::new(bridge, number));
        }
        if let Some(times) = self.conflict_retries {
            config = config.conflict_retries(times);
        }
        if let Some(term) = self.claim_term.and_then(duration) {
            config = config.claim_term(term);
        }
        if let Some(on) = self.queue_runs {
            config = config.queue_runs(on);
        }
        if let Some(on) = self.memory_alias {
            config = config.memory_alias(on);
        }
        if let Some(on) = self.stored_functions {
            config = config.stored_functions(on);
        }
        if self.print {
            let bridge = Arc::clone(bridge);
            config = config.on_print(move |text| bridge.tell(Topic::Print, number, ToJs::Bytes(text.to_vec())));
        }
        if let Some(folder) = self.module_folder {
            config = config.modules(Folder::new(folder));
        }
        if self.own_modules {
            let (bridge, handles) = (Arc::clone(bridge), Arc::clone(handles));
            config = config.modules(move |name: &str| {
                let wanted = ToJs::Text(LuaString::from(name));
                let answer = bridge.ask_now(Topic::Module, number, 0, wanted, &handles)?;
                let mut answer = answer.into_iter();
                Ok(answer.next().as_ref().and_then(Value::as_bytes).map(|source| {
                    let chunk_name = answer.next().as_ref().and_then(Value::as_str).map(str::to_owned);
                    Module { source: source.to_vec(), chunk_name: chunk_name.unwrap_or_else(|| format!("={name}")) }
                }))
            });
        }
        if let Some(seed) = self.seed {
            config = config.deterministic(seed.get_u64().1);
        }
        config
    }
}

/// Settings of an engine.
#[napi(object)]
pub struct EngineSettings {
    /// Sandboxes in the pool.
    pub pool_size: Option<u32>,
    /// Bytes.
    pub max_memory: Option<f64>,
    /// Bytes.
    pub max_stack: Option<f64>,
}

/// The compiled guest and its pool.
#[napi]
pub struct NativeEngine(pub(crate) luacell::Engine);

#[napi]
impl NativeEngine {
    /// An engine with these settings.
    #[napi(constructor)]
    pub fn new(settings: EngineSettings) -> napi::Result<Self> {
        let mut config = EngineConfig::new();
        if let Some(n) = settings.pool_size {
            config = config.pool_size(n);
        }
        if let Some(bytes) = settings.max_memory {
            config = config.max_memory(bytes as u64);
        }
        if let Some(bytes) = settings.max_stack {
            config = config.max_stack(bytes as usize);
        }
        let engine = luacell::Engine::new(config).map_err(|e| napi::Error::from_reason(e.message().to_owned()))?;
        Ok(NativeEngine(engine))
    }

    /// Whether sandboxes come from a pool.
    #[napi(getter)]
    pub fn is_pooled(&self) -> bool {
        self.0.is_pooled()
    }
}
