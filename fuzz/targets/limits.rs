//! Programs that attack limits: any way in which Lua can run, inside any other, with library calls and odd arguments,
//! and errors that are caught. Several run in one sandbox, each with small limits, and between them it is reset,
//! restored, forked, or fails. What `docs/security.md` promises holds each time.
#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use cpu_time::ThreadTime;
use libfuzzer_sys::fuzz_target;
use luacell::{
    ComputeOptions, Engine, EngineConfig, Error, ErrorKind, Function, Metrics, Module, Outcome, RestoreOptions, Sandbox, SandboxConfig, Snapshot, StoreLimit, Value,
};

use scripts::{ATTEMPTS, LIST_FUNCTIONS, Then, WAYS, call, script};
use store::{Fault, Faulty, Switch};

#[path = "../../core/tests/promises/scripts/mod.rs"]
#[allow(dead_code, unused_imports, reason = "part of it is for the tests")]
mod scripts;
#[path = "../../core/tests/promises/harness/store.rs"]
mod store;

/// Counts what the host holds.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: it is the system's; numbers of bytes are only added up.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(held, Relaxed);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The native guest of `cargo xtask sanitize guest` can't be copied, and its memory is that of a process.
const NATIVE: bool = option_env!("LUACELL_NATIVE_GUEST").is_some();

/// Processor time that a run may take at this many instructions and with this much memory, on a slow machine and with
/// assertions.
const MOST_TIME: Duration = Duration::from_secs(4);

/// What a sandbox without limits of a run has.
const WIDE: Limits = Limits {
    instructions: 4_000_000,
    memory: 16 << 20,
    output: 1 << 20,
    store: StoreLimit::new(1 << 20, 4096),
    host_calls: 10_000,
    timeout: None,
};

#[derive(Clone, Copy, Debug)]
struct Limits {
    instructions: u64,
    memory: u64,
    output: u64,
    store: StoreLimit,
    host_calls: u64,
    timeout: Option<Duration>,
}

impl Limits {
    /// One or two are small, so that each is sometimes the first to be reached.
    fn arbitrary(from: &mut Unstructured<'_>) -> Result<Limits> {
        // As often near 0 as near the most.
        let mut small = |most: u32| -> Result<u64> { Ok((1 << from.int_in_range(0..=most)?) - u64::from(from.arbitrary::<bool>()?)) };
        let mut limits = Limits { instructions: small(20)?, ..WIDE };
        for _ in 0..2 {
            match small(3)? {
                0 => limits.memory = small(24)?.max(1),
                1 => limits.output = small(12)?,
                2 => limits.store = StoreLimit::new(small(16)?, small(10)?),
                3 => limits.host_calls = small(6)?,
                4 => limits.timeout = Some(Duration::from_micros(small(14)?)),
                _ => {}
            }
        }
        Ok(limits)
    }

    fn options(&self) -> ComputeOptions {
        ComputeOptions::new()
            .instruction_limit(self.instructions)
            .memory_limit(self.memory)
            .output_limit(self.output)
            .store_limit(self.store)
            .host_call_limit(self.host_calls)
            .timeout(self.timeout)
    }
}

/// What host functions see of the run under way.
#[derive(Default)]
struct Seen {
    calls: AtomicU64,
    /// A limit was reached: nothing of the script may run.
    over: AtomicBool,
    /// After so many looks at a run it is interrupted; never at 0.
    patience: AtomicU64,
    kept: Mutex<Vec<Function>>,
}

impl Seen {
    fn begin(&self, patience: u64) {
        self.calls.store(0, Relaxed);
        self.over.store(false, Relaxed);
        self.patience.store(patience, Relaxed);
    }

    /// A host function is called.
    fn call(&self) {
        assert!(!self.over.load(Relaxed), "a host function is called after a limit was reached");
        self.calls.fetch_add(1, Relaxed);
    }

    /// A run inside the run has ended.
    fn inner<T>(&self, result: luacell::Result<T>) -> luacell::Result<T> {
        if let Err(error) = &result
            && is_limit(error.kind())
        {
            self.over.store(true, Relaxed);
        }
        result
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Function>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the run may go on.
    fn check(&self) -> bool {
        let interrupted = self.patience.load(Relaxed) > 0 && self.patience.fetch_sub(1, Relaxed) == 1;
        self.over.fetch_or(interrupted, Relaxed);
        !interrupted
    }
}

fn is_limit(kind: ErrorKind) -> bool {
    use ErrorKind::{HostCallLimit, InstructionLimit, Interrupted, OutputLimit, StoreLimit, Timeout};
    matches!(kind, InstructionLimit | Timeout | Interrupted | OutputLimit | StoreLimit | HostCallLimit)
}

fn engine(little_stack: bool) -> &'static Engine {
    static ENGINES: OnceLock<[Engine; 2]> = OnceLock::new();
    let [enough, little] = ENGINES.get_or_init(|| {
        [512, 64].map(|stack| Engine::new(EngineConfig::new().pool_size(4).max_stack(stack << 10)).expect("an engine"))
    });
    if little_stack { little } else { enough }
}

fn functions() -> &'static [String] {
    static FUNCTIONS: OnceLock<Vec<String>> = OnceLock::new();
    FUNCTIONS.get_or_init(|| {
        let values = Sandbox::new().and_then(|lua| lua.compute(LIST_FUNCTIONS)).expect("the functions").values;
        values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    })
}

fn config(seen: &Arc<Seen>, switch: &Switch, own_store: bool) -> SandboxConfig {
    let watching = Arc::clone(seen);
    let config = SandboxConfig::new()
        .instruction_limit(WIDE.instructions)
        .memory_limit(WIDE.memory)
        .output_limit(WIDE.output)
        .store_limit(WIDE.store)
        .host_call_limit(WIDE.host_calls)
        .timeout(WIDE.timeout)
        .conflict_retries(2)
        .on_check(move || watching.check())
        .modules(|name: &str| Ok((name == "entry").then(|| Module::new("entry", "return entry()"))));
    if own_store { config.store(Faulty::new(switch)) } else { config }
}

/// Statements, of which nothing can follow the last.
fn body(from: &mut Unstructured<'_>, depth: u32) -> Result<String> {
    let kind = from.int_in_range(0..=9)?;
    if depth == 0 || kind < 4 {
        return Ok(from.choose(ATTEMPTS)?.body.to_owned());
    }
    Ok(match kind {
        4..=6 => {
            let (function, head) = (from.choose(functions())?, from.choose(&["while true", "for _ = 1, 3"])?);
            let first = call(function, head, |n| from.choose_index(n).unwrap_or_default());
            format!("{first} {}", body(from, depth - 1)?)
        }
        7 => format!("pcall(function(...) {} end) {}", body(from, depth - 1)?, body(from, depth - 1)?),
        8 => format!("xpcall(function(...) {} end, function(...) {} end)", body(from, depth - 1)?, body(from, depth - 1)?),
        _ => {
            let way = from.choose(&WAYS)?;
            format!("local function attempt(...) {} end {}", body(from, depth - 1)?, way.source)
        }
    })
}

struct Attack {
    lua: Arc<Sandbox>,
    seen: Arc<Seen>,
    switch: Switch,
    own_store: bool,
    little_stack: bool,
    snapshot: Option<Snapshot>,
    /// The most memory that a run in this instance might have.
    memory: u64,
    /// Whether the last run succeeded.
    ran: bool,
    /// What was done, to be shown.
    history: String,
}

impl Attack {
    fn new(own_store: bool, little_stack: bool) -> Attack {
        let (seen, switch) = (Arc::default(), Switch::default());
        let lua = engine(little_stack).sandbox(config(&seen, &switch, own_store)).expect("a sandbox");
        let mut it = Attack {
            lua: Arc::new(lua),
            seen,
            switch,
            own_store,
            little_stack,
            snapshot: None,
            memory: WIDE.memory,
            ran: false,
            history: String::new(),
        };
        it.equip();
        it
    }

    /// Gives the sandbox the functions that scripts use.
    fn equip(&mut self) {
        let lua = Arc::downgrade(&self.lua);
        let add = |name: &str, function: fn(&Seen, &Sandbox, &[Value]) -> luacell::Result<Vec<Value>>| {
            let (seen, lua) = (Arc::clone(&self.seen), Weak::clone(&lua));
            let added = self.lua.register(name, move |values: Vec<Value>| {
                seen.call();
                let lua = lua.upgrade().ok_or_else(|| Error::host("the sandbox is gone"))?;
                function(&seen, &lua, &values)
            });
            // Something of a script's may be in the way.
            assert!(added.is_ok() || !self.history.is_empty(), "{name}: {added:?}");
        };
        add("host", |_, _, values| Ok(values.to_vec()));
        add("wait", |_, _, values| Ok(values.to_vec()));
        add("fail", |_, _, values| Err(Error::host(values.first().and_then(Value::as_str).unwrap_or("no text").to_owned())));
        add("call", |seen, _, values| {
            let function = values.first().and_then(Value::as_function).ok_or_else(|| Error::host("that is no function"))?;
            Ok(seen.inner(function.call(()))?.values)
        });
        add("keep", |seen, _, values| {
            let mut kept = seen.kept();
            kept.extend(values.first().and_then(Value::as_function).cloned());
            kept.truncate(100);
            Ok(Vec::new())
        });
        add("run", |seen, lua, values| Ok(seen.inner(lua.compute(values.first().and_then(Value::as_bytes).unwrap_or_default()))?.values));
    }

    fn note(&mut self, what: impl Display) {
        self.history.push_str(&format!("{what}\n"));
    }

    fn fail(&self, what: impl Display) -> ! {
        panic!("{}\n{what}", self.history)
    }

    fn home(&self) -> Vec<u8> {
        self.lua.export_home().unwrap_or_else(|error| self.fail(format!("`_home` can't be read: {error:?}")))
    }

    fn instance(&self) -> u64 {
        if NATIVE {
            // What is seen of it is a window with gaps: printed text lies at 384 MiB.
            return 0;
        }
        self.lua.memory_stats().map_or(0, |stats| stats.wasm_bytes)
    }

    /// Something that runs scripts, with these limits.
    fn run(&mut self, limits: &Limits, patience: u64, run: impl FnOnce(&Sandbox) -> luacell::Result<Option<Outcome>>) {
        self.memory = self.memory.max(limits.memory);
        let (home, instance) = (self.home(), self.instance());
        self.seen.begin(patience);
        let held = HELD.load(Relaxed);
        MOST.store(held, Relaxed);
        let clock = ThreadTime::now();
        let result = run(&self.lua);
        let (time, most) = (clock.elapsed(), MOST.load(Relaxed));
        let over = self.seen.over.swap(true, Relaxed);

        let (metrics, output) = match &result {
            Ok(Some(outcome)) => (outcome.metrics, outcome.output.len()),
            Ok(None) => (Metrics::default(), 0),
            Err(error) => (*error.metrics(), error.output().len()),
        };
        let calls = self.seen.calls.load(Relaxed);
        if time > MOST_TIME {
            self.fail(format!("it took {time:?}"));
        }
        if metrics.instructions > limits.instructions {
            self.fail(format!("{} instructions of {}", metrics.instructions, limits.instructions));
        }
        if calls > limits.host_calls || output as u64 > limits.output {
            self.fail(format!("{calls} host calls of {}, {output} bytes of output of {}", limits.host_calls, limits.output));
        }
        let instance_now = self.instance();
        if instance_now > 2 * self.memory + (7 << 20) {
            self.fail(format!("the instance takes {instance_now} bytes, where {} may be used", self.memory));
        }
        let growth = (most - held) as u64 + instance_now.saturating_sub(instance);
        let bound = 4 * limits.memory + (16 << 20) + limits.output + limits.store.bytes;
        if growth > bound {
            self.fail(format!("the process grew by {growth} bytes and may by {bound}"));
        }
        self.ran = result.is_ok();
        match &result {
            Ok(_) if over => self.fail("it succeeded after a limit was reached"),
            Ok(_) => {}
            Err(error) => {
                self.kind(limits, patience, over, error);
                if self.home() != home {
                    self.fail(format!("`_home` is not as before a run that failed: {error:?}"));
                }
            }
        }
    }

    /// It may end like this.
    fn kind(&self, limits: &Limits, patience: u64, over: bool, error: &Error) {
        let faulty = |fault| self.own_store && self.switch.is(fault);
        let allowed = match error.kind() {
            ErrorKind::InstructionLimit | ErrorKind::OutputLimit | ErrorKind::StoreLimit | ErrorKind::HostCallLimit => true,
            ErrorKind::Timeout => limits.timeout.is_some(),
            ErrorKind::Interrupted => patience > 0,
            ErrorKind::Runtime | ErrorKind::Memory | ErrorKind::Syntax | ErrorKind::HostFunction | ErrorKind::Conversion => !over,
            ErrorKind::Store => faulty(Fault::FailedCommit),
            ErrorKind::Conflict => faulty(Fault::Conflict),
            ErrorKind::Trap => self.little_stack,
            _ => false,
        };
        if !allowed {
            self.fail(format!("it ended with {error:?}"));
        }
    }

    /// Whatever happened, it works and its limits hold.
    fn works(&mut self, after_reset: bool) {
        self.switch.set(Fault::Nothing);
        self.memory = self.memory.max(WIDE.memory);
        self.seen.begin(0);
        // Finalizers that wait are what the next runs have to do, and one that makes itself anew has something to do in
        // each.
        let finalizers = !after_reset && self.history.contains("__gc");
        let tries = if finalizers { 4 } else { 1 };
        let mut last = None;
        for _ in 0..tries {
            match self.lua.compute("return 1 + 1").and_then(|outcome| outcome.get::<i64>()) {
                Ok(2) => return self.bounded(),
                other => last = Some(other),
            }
        }
        if !finalizers || !matches!(&last, Some(Err(error)) if is_limit(error.kind()) || error.kind() == ErrorKind::Memory) {
            self.fail(format!("afterwards 1 + 1 is {last:?}"));
        }
    }

    fn bounded(&self) {
        match self.lua.compute_with("while true do end", ComputeOptions::new().instruction_limit(5_000)) {
            Err(error) if error.kind() == ErrorKind::InstructionLimit && error.metrics().instructions <= 5_000 => {}
            other => self.fail(format!("afterwards a limit does not hold: {other:?}")),
        }
    }

    fn snapshot(&mut self) {
        match self.lua.snapshot() {
            Ok(snapshot) => self.snapshot = Some(snapshot),
            Err(error) => self.fail(format!("no snapshot: {error:?}")),
        }
    }

    /// What the host does between runs.
    fn change(&mut self, from: &mut Unstructured<'_>) -> Result<()> {
        let change = from.int_in_range(if NATIVE { 5 } else { 0 }..=15)?;
        self.note(format!("-- change {change}"));
        let faults = [Fault::Nothing, Fault::FailedCommit, Fault::Conflict];
        match change {
            0 => self.restart(),
            1 => self.snapshot(),
            2 => {
                if let Some(snapshot) = self.snapshot.clone() {
                    if let Err(error) = self.lua.restore(&snapshot) {
                        self.fail(format!("not restored: {error:?}"));
                    }
                    self.memory = self.memory.max(WIDE.memory);
                }
            }
            3 => {
                let fork = self.lua.fork().unwrap_or_else(|error| self.fail(format!("no fork: {error:?}")));
                self.replace(fork);
            }
            4 => {
                self.snapshot();
                let engine = engine(self.little_stack);
                let config = config(&self.seen, &self.switch, self.own_store);
                let snapshot = self.snapshot.as_ref().expect("it was taken above");
                let copy = snapshot.to_bytes().and_then(|bytes| {
                    let copy = engine.sandbox(config)?;
                    // Lua may hold kept tables, which another store of its own would not have.
                    copy.restore_with(&Snapshot::from_bytes(engine, &bytes)?, &RestoreOptions::new().tables(true))?;
                    Ok(copy)
                });
                match copy {
                    Ok(copy) => self.replace(copy),
                    Err(error) => self.fail(format!("the bytes of a snapshot can't be used: {error:?}")),
                }
            }
            5 => self.run(&WIDE, 0, |lua| lua.gc().map(|()| None)),
            6 => self.run(&WIDE, 0, |lua| lua.call("entry", ()).map(Some)),
            7 => {
                let function = self.seen.kept().pop();
                if let Some(function) = function {
                    // Of an instance that is gone, perhaps.
                    self.run(&WIDE, 0, |_| match function.call(()) {
                        Err(error) if error.kind() == ErrorKind::Closed => Ok(None),
                        other => other.map(Some),
                    });
                }
            }
            8 | 9 => self.switch.set(*from.choose(&faults)?),
            _ => {}
        }
        Ok(())
    }

    fn restart(&mut self) {
        if let Err(error) = self.lua.reset() {
            self.fail(format!("it can't be reset: {error:?}"));
        }
    }

    fn replace(&mut self, lua: Sandbox) {
        self.seen.kept().clear();
        self.lua = Arc::new(lua);
        self.equip();
    }

    fn program(&mut self, from: &mut Unstructured<'_>) -> Result<()> {
        let limits = Limits::arbitrary(from)?;
        let patience = if from.ratio(1, 8)? { from.int_in_range(1..=6)? } else { 0 };
        let way = from.choose(&WAYS)?;
        let source = script(way, &body(from, 2)?);
        self.note(format!("-- {limits:?}, patience {patience}\n{source}"));
        self.run(&limits, patience, |lua| lua.compute_with(&source, limits.options()).map(Some));
        if self.ran {
            self.then(&limits, way.then);
        }
        Ok(())
    }

    /// What makes the program of some ways run.
    fn then(&mut self, limits: &Limits, then: Then) {
        match then {
            Then::Source(source) => self.run(limits, 0, |lua| lua.compute_with(source, limits.options()).map(Some)),
            Then::Call => self.run(limits, 0, |lua| lua.call_with("entry", limits.options()).map(Some)),
            Then::Transaction(source) => self.run(&WIDE, 0, |lua| {
                lua.transaction(|tx| tx.compute("_home.more = 1").and_then(|_| tx.compute(source))).map(Some)
            }),
            _ => {}
        }
    }
}

fn attack(from: &mut Unstructured<'_>) -> Result<()> {
    let mut attack = Attack::new(from.arbitrary()?, from.ratio(1, 8)?);
    for _ in 0..from.int_in_range(1..=4)? {
        let ended = attack.change(from).and_then(|()| attack.program(from));
        attack.works(false);
        ended?;
    }
    attack.restart();
    attack.works(true);
    Ok(())
}

fuzz_target!(|bytes: &[u8]| {
    // Too few bytes are an end like any other.
    let _ = attack(&mut Unstructured::new(bytes));
});
