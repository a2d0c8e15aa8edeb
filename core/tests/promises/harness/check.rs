//! What has to hold, whatever a script does.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use luacell::{ErrorKind, Interrupter, Result, Sandbox};

use super::case::{Case, INSTRUCTIONS, INTERRUPT_AFTER, Limit, Prepared, RETRIES, State, TIMEOUT, wide};
use super::measure::{Begun, Clock, Memory, Spent};
use super::store::Fault;
use super::worker::step;
use crate::scripts::Then;

/// What this machine and this build take for what is known: times of the processor.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A loop of [`INSTRUCTIONS`].
    pub instructions: Duration,
    /// A full collection of the largest heap that there may be.
    pub collection: Duration,
    /// Whether the times of a release are asked for, or only that there is a bound.
    pub strict: bool,
}

impl Pace {
    /// # Errors
    /// When a script fails that should not.
    pub fn measure(strict: bool) -> Result<Pace> {
        let lua = Sandbox::new()?;
        let loop_ = || {
            let clock = Clock::now();
            let _ = lua.compute_with("while true do end", wide().instruction_limit(INSTRUCTIONS));
            clock.spent().cpu
        };
        let instructions = (0..3).map(|_| loop_()).max().unwrap_or_default();
        let fill = "local n = 0 for i = 1, 200000 do keep = {keep} n = n + 1 if n % 1000 == 0 and collectgarbage('count') > 15 * 1024 then break end end";
        lua.compute_with(fill, wide())?;
        let collect = || {
            let clock = Clock::now();
            let _ = lua.compute_with("collectgarbage()", wide());
            clock.spent().cpu
        };
        let collection = (0..3).map(|_| collect()).max().unwrap_or_default();
        Ok(Pace { instructions, collection, strict })
    }

    /// How long a run may take beyond the moment at which its limit is reached; with a limit of instructions, in all.
    fn bound(&self, limit: Limit) -> Duration {
        match (limit.counts(), self.strict) {
            (true, true) => self.instructions * 60 + self.collection * 3 + Duration::from_millis(30),
            (true, false) => self.instructions * 150 + self.collection * 6 + Duration::from_millis(500),
            (false, true) => Duration::from_millis(50).max(self.collection),
            (false, false) => Duration::from_millis(300) + self.collection * 6,
        }
    }
}

/// What was seen.
#[derive(Default)]
pub struct Findings {
    pub list: Vec<String>,
    /// The longest that a run went on after its limit, as a part of what it may.
    pub worst_time: f64,
    /// The most memory, as a part of what there may be.
    pub worst_memory: f64,
}

impl Findings {
    fn add(&mut self, what: impl Into<String>) {
        self.list.push(what.into());
    }
}

/// Interrupts a run, when it takes long enough.
struct Alarm {
    over: Mutex<bool>,
    ended: Condvar,
}

impl Alarm {
    /// Waits, interrupts until the run is over, and says what the run had spent when it was first done.
    fn watch(&self, interrupter: &Interrupter, begun: &Begun) -> Option<Spent> {
        let mut first = None;
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        while !*over {
            over = self.ended.wait_timeout(over, INTERRUPT_AFTER).unwrap_or_else(PoisonError::into_inner).0;
            if !*over {
                interrupter.interrupt();
                first.get_or_insert_with(|| begun.spent());
            }
        }
        first
    }
}

/// The result, and what was spent until the first interrupt.
fn during_interrupts<T>(interrupter: &Interrupter, run: impl FnOnce() -> T) -> (T, Option<Spent>) {
    let alarm = Alarm { over: Mutex::new(false), ended: Condvar::new() };
    let begun = Begun::now();
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| alarm.watch(interrupter, &begun));
        let result = run();
        *alarm.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        alarm.ended.notify_all();
        (result, watching.join().ok().flatten())
    })
}

/// One thing that the host does, and whether it ends as it may.
struct Act<'a> {
    case: &'a Case,
    lua: &'a Sandbox,
    pace: &'a Pace,
    name: &'a str,
}

impl Act<'_> {
    fn home(&self, found: &mut Findings) -> Option<Vec<u8>> {
        match self.lua.export_home() {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                found.add(format!("{}: `_home` can't be read: {:?} {error}", self.name, error.kind()));
                None
            }
        }
    }

    /// Whether it succeeded. `surely`: it can only end by a limit.
    fn perform(&self, found: &mut Findings, surely: bool, run: impl FnOnce() -> Result<()>) -> bool {
        let before = self.home(found);
        step();
        let clock = Clock::now();
        let (result, spent) = if self.case.limit == Limit::Interrupt {
            let (result, before) = during_interrupts(&self.lua.interrupter(), run);
            (result, clock.spent().since(before))
        } else {
            (run(), clock.spent())
        };
        let kind = match &result {
            Ok(()) => None,
            Err(error) => Some(error.kind()),
        };
        self.kind(found, kind, surely, result.as_ref().err().map(ToString::to_string));
        self.time(found, spent);
        if let Err(error) = &result {
            let used = error.metrics().instructions;
            if self.case.limit.counts() && used > INSTRUCTIONS {
                found.add(format!("{}: {used} instructions of {INSTRUCTIONS}", self.name));
            }
            if self.home(found) != before {
                found.add(format!("{}: `_home` is not as before a run that failed", self.name));
            }
        }
        result.is_ok()
    }

    fn kind(&self, found: &mut Findings, kind: Option<ErrorKind>, surely: bool, text: Option<String>) {
        let limit = match self.case.limit {
            Limit::Timeout => ErrorKind::Timeout,
            Limit::Interrupt => ErrorKind::Interrupted,
            _ => ErrorKind::InstructionLimit,
        };
        let text = text.unwrap_or_default();
        let Some(kind) = kind else {
            if surely {
                found.add(format!("{}: it came to an end, and has none", self.name));
            }
            return;
        };
        let allowed = match kind {
            ErrorKind::OutputLimit | ErrorKind::StoreLimit | ErrorKind::HostCallLimit => true,
            // What an attempt needs at first may be more than there is.
            ErrorKind::Memory => !surely || self.case.limit == Limit::Memory,
            // The script raises it again with a place in front.
            ErrorKind::Runtime if self.case.limit == Limit::Memory && text.ends_with("not enough memory") => true,
            ErrorKind::Runtime | ErrorKind::Conversion | ErrorKind::HostFunction | ErrorKind::Syntax => !surely,
            ErrorKind::Conflict => self.case.state == State::Conflicts,
            ErrorKind::Trap => self.case.state == State::Trap,
            other => other == limit,
        };
        if !allowed {
            found.add(format!("{}: {kind:?}: {}", self.name, text.chars().take(200).collect::<String>()));
        }
    }

    fn time(&self, found: &mut Findings, spent: Spent) {
        let limit = self.case.limit;
        let over = match limit {
            Limit::Timeout => spent.least().saturating_sub(TIMEOUT),
            Limit::Interrupt => spent.least(),
            _ => spent.cpu,
        };
        // A run that is tried again has one timeout, but each try its own instructions.
        let tries = if limit.counts() && self.case.state == State::Conflicts { 1 + RETRIES } else { 1 };
        let bound = self.pace.bound(limit) * tries;
        found.worst_time = found.worst_time.max(over.as_secs_f64() / bound.as_secs_f64());
        if over > bound {
            found.add(format!("{}: took {over:?}, and may take {bound:?} (in all {spent:?})", self.name));
        }
    }
}

/// A finalizer that makes another one like itself may be there in each run until the next reset.
const COMES_BACK: &str = "with finalizers that come back";

/// A sandbox works, and its limits hold.
fn works(case: &Case, lua: &Sandbox, name: &str, finalizers: bool, found: &mut Findings) {
    // What waits for its finalizer runs here, under the limits that the case promises.
    let sizes = case.sizes();
    let wide = || wide().memory_limit(sizes.memory).store_limit(sizes.store_limit());
    // A finalizer that waits may be what the next run has to do; and the collection of what the last one left.
    let tries = if finalizers { 12 } else { 1 };
    let mut result = Ok(());
    for _ in 0..tries {
        step();
        result = lua.compute_with("return 1 + 1", wide()).and_then(|out| out.get::<i64>()).map(|n| {
            if n != 2 {
                found.add(format!("{name}: 1 + 1 is {n}"));
            }
        });
        if result.is_ok() {
            break;
        }
    }
    if let Err(error) = result {
        if name == COMES_BACK {
            return;
        }
        found.add(format!("{name}: the sandbox does not work afterwards: {:?} {error}", error.kind()));
        return;
    }
    let bounded = [
        (wide().instruction_limit(200_000), ErrorKind::InstructionLimit),
        (wide().instruction_limit(u64::MAX).timeout(Duration::from_millis(2)), ErrorKind::Timeout),
    ];
    for (options, kind) in bounded {
        match lua.compute_with("while true do end", options) {
            Err(error) if error.kind() == kind => {}
            other => found.add(format!("{name}: the next run's {kind:?} does not hold: {other:?}")),
        }
    }
}

/// With globals that no script has touched.
fn prints_no_more_than_it_may(lua: &Sandbox, found: &mut Findings) {
    match lua.compute_with("while true do print('x') end", wide().output_limit(100)) {
        Err(error) if error.kind() == ErrorKind::OutputLimit => {}
        other => found.add(format!("reset: the next run's OutputLimit does not hold: {other:?}")),
    }
}

/// Runs a case.
pub fn check(case: &Case, pace: &Pace) -> Findings {
    let mut found = Findings::default();
    let prepared = match Prepared::new(case) {
        Ok(prepared) => prepared,
        Err(error) => {
            found.add(format!("before the run: {:?} {error}", error.kind()));
            return found;
        }
    };
    let memory = Memory::now();
    let copies = perform(case, pace, prepared, &mut found);
    let sizes = case.sizes();
    let most = (4 * sizes.memory + (16 << 20) + sizes.output + sizes.store) * copies;
    let growth = memory.growth();
    found.worst_memory = growth as f64 / most as f64;
    if growth > most {
        found.add(format!("the process grew by {} KiB, and may by {} KiB", growth >> 10, most >> 10));
    }
    found
}

/// How many sandboxes there were.
fn perform(case: &Case, pace: &Pace, mut prepared: Prepared, found: &mut Findings) -> u64 {
    let lua = Arc::clone(&prepared.lua);
    let act = |name| Act { case, lua: &lua, pace, name };
    if case.way.then == Then::Restore {
        prepared.snapshot = lua.snapshot().ok();
        prepared.copies += 1;
    }
    if case.state == State::Conflicts {
        prepared.switch.set(Fault::Conflict);
    }
    let first = case.way.then == Then::Nothing;
    let surely = first && (case.way.endless || case.endless && case.way.sure);
    let source = case.source();
    let ran = act("run").perform(found, surely, || run(case, &lua, &source));
    if ran && !first {
        let then = act("afterwards");
        let endless = case.endless && case.way.sure;
        match case.way.then {
            Then::Nothing => {}
            Then::Source(source) => drop(then.perform(found, endless, || lua.compute(source).map(drop))),
            Then::Call => drop(then.perform(found, endless, || lua.call("entry", ()).map(drop))),
            Then::Transaction(source) => {
                then.perform(found, endless, || {
                    lua.transaction(|tx| {
                        tx.compute("_home.more = 1")?;
                        tx.compute(source).map(drop)
                    })
                });
            }
            Then::Handle => {
                let function = prepared.kept.lock().ok().and_then(|mut kept| kept.pop());
                if let Some(function) = function {
                    then.perform(found, endless, || function.call(()).map(drop));
                }
            }
            Then::Gc => drop(then.perform(found, false, || lua.gc())),
            Then::Reset => drop(then.perform(found, false, || lua.reset())),
            Then::Snapshot => {
                prepared.copies += 1;
                then.perform(found, false, || lua.snapshot().map(drop));
            }
            Then::Restore => {
                if let Some(snapshot) = &prepared.snapshot {
                    then.perform(found, false, || lua.restore(snapshot));
                }
            }
            Then::Fork => {
                prepared.copies += 1;
                let mut fork = None;
                then.perform(found, false, || lua.fork().map(|it| fork = Some(it)));
                if let Some(fork) = fork {
                    works(case, &fork, "the fork", true, found);
                }
            }
            Then::Close => {
                let clock = Clock::now();
                lua.close();
                then.time(found, clock.spent());
                return prepared.copies;
            }
        }
    }
    prepared.switch.set(Fault::Nothing);
    let finalizers = source.contains("__gc");
    let comes_back = source.contains("again()");
    works(case, &lua, if comes_back { COMES_BACK } else { "then" }, finalizers, found);
    // What is in the way of a name may be in the way until the next reset.
    let mut registered = lua.register("added.later", |()| Ok(1));
    if let Err(error) = &registered
        && !(case.body.contains("added =") && error.kind() == ErrorKind::InvalidArgument)
        && !(comes_back && error.kind() == ErrorKind::Memory)
    {
        found.add(format!("then: a function can't be registered: {:?} {error}", error.kind()));
    }
    if let Err(error) = lua.reset() {
        found.add(format!("then: it can't be reset: {:?} {error}", error.kind()));
    }
    if registered.is_err() {
        registered = lua.register("added.later", |()| Ok(1));
    }
    works(case, &lua, "reset", false, found);
    prints_no_more_than_it_may(&lua, found);
    match registered.and_then(|()| lua.compute_with("return added.later()", wide())).and_then(|out| out.get::<i64>()) {
        Ok(1) => {}
        other => found.add(format!("reset: a registered function gives {other:?}")),
    }
    prepared.copies
}

fn run(case: &Case, lua: &Sandbox, source: &str) -> Result<()> {
    #[cfg(feature = "async")]
    if case.way.waits {
        return pollster::block_on(lua.compute_async(source, luacell::ComputeOptions::new())).map(drop);
    }
    let _ = case;
    lua.compute(source).map(drop)
}
