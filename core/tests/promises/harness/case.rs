//! A case: a sandbox in some state with some limit, and a script.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use fastrand::Rng;
use luacell::{
    ComputeOptions, Engine, EngineConfig, Error, Function, Module, Result, Sandbox, SandboxConfig, Snapshot,
    StoreLimit, Value,
};

use super::store::{Fault, Faulty, Switch};
use crate::scripts::{ATTEMPTS, Attempt, LIST_FUNCTIONS, WAYS, Way, call, script};

/// Which limit ends the run, with all others wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Instructions,
    Timeout,
    Interrupt,
    Memory,
    Output,
    Store,
    HostCalls,
    Source,
}

impl Limit {
    pub const ALL: [Limit; 8] = [
        Limit::Instructions,
        Limit::Timeout,
        Limit::Interrupt,
        Limit::Memory,
        Limit::Output,
        Limit::Store,
        Limit::HostCalls,
        Limit::Source,
    ];

    /// Whether the run is bounded by instructions, and not by time.
    pub fn counts(self) -> bool {
        !matches!(self, Limit::Timeout | Limit::Interrupt)
    }
}

pub const INSTRUCTIONS: u64 = 1_000_000;
/// After conflicts.
pub const RETRIES: u32 = 10;
pub const TIMEOUT: Duration = Duration::from_millis(100);
pub const INTERRUPT_AFTER: Duration = Duration::from_millis(20);

/// How a sandbox is when the script comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Fresh,
    Error,
    Limit,
    OutOfMemory,
    /// A store panicked in the middle of a run.
    Lost,
    /// On an engine with little stack.
    Trap,
    Reset,
    Restored,
    /// From the bytes of a snapshot.
    Loaded,
    Fork,
    FailedCommit,
    Conflict,
    /// Every commit ends with a conflict, and the run is tried again.
    Conflicts,
}

impl State {
    pub const ALL: [State; 13] = [
        State::Fresh,
        State::Error,
        State::Limit,
        State::OutOfMemory,
        State::Lost,
        State::Trap,
        State::Reset,
        State::Restored,
        State::Loaded,
        State::Fork,
        State::FailedCommit,
        State::Conflict,
        State::Conflicts,
    ];

    fn own_store(self) -> bool {
        matches!(self, State::Lost | State::FailedCommit | State::Conflict | State::Conflicts)
    }
}

/// Bounds of a sandbox, in bytes.
pub struct Sizes {
    pub memory: u64,
    pub output: u64,
    pub store: u64,
}

impl Sizes {
    pub fn store_limit(&self) -> StoreLimit {
        StoreLimit::new(self.store, self.store / 256)
    }
}

pub struct Case {
    pub way: Way,
    pub attempt: String,
    /// Its body.
    pub body: String,
    pub endless: bool,
    pub limit: Limit,
    pub state: State,
    pub hardened: bool,
}

impl Case {
    fn new(way: Way, attempt: &Attempt, rng: &mut Rng) -> Case {
        Case {
            way,
            attempt: attempt.name.to_owned(),
            body: attempt.body.to_owned(),
            endless: attempt.endless,
            limit: choose(rng, &Limit::ALL),
            state: choose(rng, &State::ALL),
            hardened: false,
        }
    }

    /// One of the table of ways and attempts.
    pub fn of_matrix(way: usize, attempt: usize) -> Option<Case> {
        let mut rng = Rng::with_seed((way * 1000 + attempt) as u64);
        Some(Case::new(*WAYS.get(way)?, ATTEMPTS.get(attempt)?, &mut rng))
    }

    /// A call of a library function.
    pub fn of_function(function: &str, seed: u64) -> Case {
        let mut rng = Rng::with_seed(function.bytes().fold(seed, |h, b| h.wrapping_mul(31).wrapping_add(b.into())));
        Case::calling(function, &mut rng)
    }

    fn calling(function: &str, rng: &mut Rng) -> Case {
        let way = WAYS.iter().find(|way| way.name == "main chunk").copied().unwrap_or(WAYS[0]);
        let limit = choose(rng, &[Limit::Instructions, Limit::Instructions, Limit::Memory, Limit::Timeout]);
        let body = call(function, "while true", |n| rng.usize(..n));
        Case {
            way,
            attempt: format!("{function} with odd arguments"),
            body,
            endless: false,
            limit,
            state: State::Fresh,
            hardened: false,
        }
    }

    /// Anything.
    pub fn at_random(seed: u64, functions: &[String]) -> Case {
        let mut rng = Rng::with_seed(seed);
        let way = choose(&mut rng, &WAYS);
        let mut case = match functions.get(rng.usize(..2 * functions.len().max(1))) {
            Some(function) => Case::calling(function, &mut rng),
            None => Case::new(way, &choose(&mut rng, ATTEMPTS), &mut rng),
        };
        case.way = if rng.u8(..3) == 0 { case.way } else { way };
        case.limit = choose(&mut rng, &Limit::ALL);
        case.state = choose(&mut rng, &State::ALL);
        if rng.u8(..4) == 0 {
            let second = choose(&mut rng, ATTEMPTS);
            case.body = format!("pcall(function() {} end) {}", second.body, case.body);
            case.attempt = format!("{}, then {}", second.name, case.attempt);
            case.endless &= second.endless;
        }
        case
    }

    pub fn source(&self) -> String {
        script(&self.way, &self.body)
    }

    pub fn sizes(&self) -> Sizes {
        Sizes {
            memory: if self.limit == Limit::Memory { 2 << 20 } else { 16 << 20 },
            output: if self.limit == Limit::Output { 4 << 10 } else { 256 << 10 },
            store: if self.limit == Limit::Store { 16 << 10 } else { 1 << 20 },
        }
    }

    fn config(&self, switch: &Switch) -> SandboxConfig {
        let sizes = self.sizes();
        let (calls, source) = (if self.limit == Limit::HostCalls { 20 } else { 10_000 }, 1 << 20);
        let config = SandboxConfig::new()
            .memory_limit(sizes.memory)
            .output_limit(sizes.output)
            .store_limit(sizes.store_limit())
            .host_call_limit(calls)
            .source_limit(if self.limit == Limit::Source { 64 << 10 } else { source })
            .instruction_limit(if self.limit.counts() { INSTRUCTIONS } else { u64::MAX })
            .timeout(if self.limit == Limit::Timeout { TIMEOUT } else { Duration::from_secs(600) })
            .conflict_retries(if self.state == State::Conflicts { RETRIES } else { 0 })
            .modules(|name: &str| Ok((name == "entry").then(|| Module::new("entry", "return entry()"))));
        if self.state.own_store() {
            return config.store(Faulty::new(switch));
        }
        config
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.sizes();
        writeln!(
            f,
            "way: {}; attempt: {}; limit: {:?}; state: {:?}",
            self.way.name, self.attempt, self.limit, self.state
        )?;
        write!(f, "limits: memory {} output {} store {}", sizes.memory, sizes.output, sizes.store)?;
        match self.limit {
            Limit::Timeout => write!(f, " timeout {TIMEOUT:?}")?,
            Limit::Interrupt => write!(f, " interrupt after {INTERRUPT_AFTER:?}")?,
            _ => write!(f, " instructions {INSTRUCTIONS}")?,
        }
        writeln!(f, "{}; then {:?}", if self.way.waits { "; as a future" } else { "" }, self.way.then)?;
        write!(f, "----\n{}\n----", self.source())
    }
}

pub fn choose<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}

fn engine(case: &Case) -> Result<Engine> {
    static LITTLE_STACK: OnceLock<Engine> = OnceLock::new();
    static ENOUGH: OnceLock<Engine> = OnceLock::new();
    static HARDENED: OnceLock<Engine> = OnceLock::new();
    let config = || EngineConfig::new().pool_size(16);
    let (place, config) = match case {
        Case { state: State::Trap, .. } => (&LITTLE_STACK, config().max_stack(64 << 10)),
        Case { hardened: true, .. } => (&HARDENED, config().hardened(true)),
        _ => (&ENOUGH, config()),
    };
    if place.get().is_none() {
        let _ = place.set(Engine::new(config)?);
    }
    place.get().cloned().ok_or_else(|| Error::host("no engine"))
}

/// A sandbox in its state, and what belongs to it.
pub struct Prepared {
    pub lua: Arc<Sandbox>,
    pub kept: Arc<Mutex<Vec<Function>>>,
    pub switch: Switch,
    pub snapshot: Option<Snapshot>,
    /// Sandboxes that there are, and copies of them.
    pub copies: u64,
}

/// Gives a sandbox the functions that scripts use.
fn equip(lua: &Arc<Sandbox>, kept: &Arc<Mutex<Vec<Function>>>) -> Result<()> {
    lua.register("host", |values: Vec<Value>| Ok(values))?;
    lua.register("fail", |values: Vec<Value>| {
        let text = values.first().and_then(Value::as_str).unwrap_or("no text").to_owned();
        Err::<(), _>(Error::host(format!("no: {text}")))
    })?;
    lua.register("call", |values: Vec<Value>| {
        let Some(Value::Function(function)) = values.first() else { return Err(Error::host("that is no function")) };
        Ok(function.call(())?.values)
    })?;
    let place = Arc::clone(kept);
    lua.register("keep", move |function: Function| {
        if let Ok(mut kept) = place.lock() {
            kept.push(function);
        }
        Ok(())
    })?;
    let inner: Weak<Sandbox> = Arc::downgrade(lua);
    lua.register("run", move |source: luacell::LuaString| {
        let lua = inner.upgrade().ok_or_else(|| Error::host("the sandbox is gone"))?;
        Ok(lua.compute(source.as_bytes())?.values)
    })?;
    #[cfg(feature = "async")]
    lua.register_async("wait", |()| {
        let mut waited = false;
        std::future::poll_fn(move |task| {
            if std::mem::replace(&mut waited, true) {
                return std::task::Poll::Ready(Ok(()));
            }
            task.waker().wake_by_ref();
            std::task::Poll::Pending
        })
    })?;
    #[cfg(not(feature = "async"))]
    lua.register("wait", |()| Ok(()))?;
    Ok(())
}

/// What is kept before the script comes.
const KEEP: &str = "_home.kept = 'mine' _home.list = {1, 2, {3}} _home.n = 7";

/// With limits that allow what makes a state.
pub fn wide() -> ComputeOptions {
    ComputeOptions::new()
        .instruction_limit(10_000_000)
        .memory_limit(256 << 20)
        .timeout(Duration::from_secs(600))
        .host_call_limit(u64::MAX)
        .output_limit(1 << 20)
        .store_limit(StoreLimit::new(1 << 30, 1 << 30))
        .source_limit(1 << 20)
}

fn fails(lua: &Sandbox, source: &str, options: ComputeOptions, kind: &str) -> Result<()> {
    match lua.compute_with(source, options) {
        Err(error) if error.kind().name() == kind => Ok(()),
        other => Err(Error::host(format!("{source} gave {other:?} and not {kind}"))),
    }
}

impl Prepared {
    /// # Errors
    /// What should not have failed.
    pub fn new(case: &Case) -> Result<Prepared> {
        let (engine, switch) = (engine(case)?, Switch::default());
        let kept = Arc::default();
        let new = || -> Result<Arc<Sandbox>> {
            let lua = Arc::new(engine.sandbox(case.config(&switch))?);
            equip(&lua, &kept)?;
            Ok(lua)
        };
        let lua = new()?;
        lua.compute_with(KEEP, wide())?;
        let mut it = Prepared { lua, kept: Arc::clone(&kept), switch: switch.clone(), snapshot: None, copies: 1 };
        let lua = &it.lua;
        match case.state {
            State::Fresh => {}
            State::Error => fails(lua, "_home.kept = 1 error('x')", wide(), "Runtime")?,
            State::Limit => {
                fails(lua, "_home.kept = 1 while true do end", wide().instruction_limit(10_000), "InstructionLimit")?;
            }
            State::OutOfMemory => {
                fails(
                    lua,
                    "_home.kept = 1 local s = ('x'):rep(1 << 20) while true do s = s .. s end",
                    wide().memory_limit(2 << 20),
                    "Memory",
                )?;
            }
            State::Lost => {
                switch.set(Fault::Panic);
                let run = || lua.compute_with("_home.kept = 1 return _home.absent", wide());
                let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err();
                switch.set(Fault::Nothing);
                if !panicked {
                    return Err(Error::host("the panic of a store got lost"));
                }
            }
            State::Trap => {
                // Whether it does depends on the engine's frames.
                let deep = "_home.kept = 1 local function f() return pcall(string.gsub, 'x', '.', f) end return f()";
                let _ = lua.compute_with(deep, wide());
                lua.home().set("kept", "mine")?;
            }
            State::Reset => lua.reset()?,
            State::Restored => {
                let snapshot = lua.snapshot()?;
                lua.compute_with("_home.kept = 2 _home.more = {} x = {}", wide())?;
                lua.restore(&snapshot)?;
                it.copies = 2;
            }
            State::Loaded => {
                let snapshot = Snapshot::from_bytes(&engine, &lua.snapshot()?.to_bytes()?)?;
                it.lua = Arc::new(engine.sandbox_from(&snapshot, case.config(&switch))?);
                equip(&it.lua, &kept)?;
                it.copies = 2;
            }
            State::Fork => {
                it.lua = Arc::new(lua.fork()?);
                equip(&it.lua, &kept)?;
                it.copies = 2;
            }
            State::FailedCommit => {
                switch.set(Fault::FailedCommit);
                fails(lua, "_home.kept = 1", wide(), "Store")?;
                switch.set(Fault::Nothing);
            }
            State::Conflict => {
                switch.set(Fault::Conflict);
                fails(lua, "_home.kept = 1", wide(), "Conflict")?;
                switch.set(Fault::Nothing);
            }
            State::Conflicts => {}
        }
        Ok(it)
    }
}

/// An expression for each library function.
///
/// # Errors
/// When they can't be listed.
pub fn functions() -> Result<Vec<String>> {
    let lua = Sandbox::new()?;
    Ok(lua.compute(LIST_FUNCTIONS)?.values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}
