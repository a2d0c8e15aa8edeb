//! The keyword arguments of a new sandbox.

use std::sync::Arc;
use std::time::{Duration, Instant};

use luacell::SandboxConfig;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::callbacks::Callbacks;
use crate::engine::Engine;
use crate::options::{self, set_limits};
use crate::{modules, store};

/// The keyword arguments of a new sandbox.
pub struct Arguments<'a, 'py> {
    pub engine: Option<&'a Bound<'py, Engine>>,
    pub store: Option<&'a Bound<'py, PyAny>>,
    pub on_print: Option<&'a Bound<'py, PyAny>>,
    pub modules: Option<&'a Bound<'py, PyAny>>,
    pub seed: Option<u64>,
    pub conflict_retries: Option<u32>,
    pub claim_term: Option<&'a Bound<'py, PyAny>>,
    pub memory_alias: bool,
    pub stored_functions: bool,
    pub limits: Option<&'a Bound<'py, PyDict>>,
}

impl<'py> Arguments<'_, 'py> {
    /// Those that are not the defaults, apart from the store: what a fork is made with.
    pub fn settings(&self, py: Python<'py>) -> PyResult<Option<Py<PyDict>>> {
        let Self { engine, on_print, modules, seed, conflict_retries, claim_term, memory_alias, .. } = *self;
        let Self { stored_functions, limits, .. } = *self;
        let plain = engine.is_none() && on_print.is_none() && modules.is_none() && seed.is_none() && stored_functions;
        if plain && conflict_retries.is_none() && claim_term.is_none() && memory_alias && limits.is_none() {
            return Ok(None);
        }
        let settings = limits.map_or_else(|| Ok(PyDict::new(py)), PyDictMethods::copy)?;
        if let Some(engine) = engine {
            settings.set_item("engine", engine)?;
        }
        if let Some(sink) = on_print {
            settings.set_item("on_print", sink)?;
        }
        if let Some(modules) = modules {
            settings.set_item("modules", modules)?;
        }
        settings.set_item("seed", seed)?;
        settings.set_item("conflict_retries", conflict_retries)?;
        settings.set_item("claim_term", claim_term)?;
        settings.set_item("memory_alias", memory_alias)?;
        settings.set_item("stored_functions", stored_functions)?;
        Ok(Some(settings.unbind()))
    }

    /// What the core is told, and which functions of Python's it calls.
    pub fn config(&self, callbacks: &Arc<Callbacks>) -> PyResult<SandboxConfig> {
        let checks = Arc::clone(callbacks);
        let mut clock = Instant::now();
        let config = SandboxConfig::new().on_check(move || checks.check(&mut clock));
        let mut config = set_limits(config, self.limits)?.stored_functions(self.stored_functions);
        if !self.memory_alias {
            config = config.memory_alias(false);
        }
        if let Some(store) = self.store {
            config = store::set(config, store, callbacks)?;
        }
        if let Some(modules) = self.modules {
            config = modules::set(config, modules, callbacks)?;
        }
        if let Some(seed) = self.seed {
            config = config.deterministic(seed);
        }
        if let Some(times) = self.conflict_retries {
            config = config.conflict_retries(times);
        }
        if let Some(term) = self.claim_term {
            config = config.claim_term(options::time(term, "claim_term")?.unwrap_or(Duration::MAX));
        }
        if let Some(function) = self.on_print {
            callbacks.print.put(function.clone().unbind());
            let sink = Arc::clone(callbacks);
            config = config.on_print(move |text| sink.print(text));
        }
        Ok(config)
    }
}
