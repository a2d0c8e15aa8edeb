//! Host functions: what Lua calls by name.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::requests::{OpenRequest, Waits, nobody_answers, too_much_is_held};
use super::resolver::SandboxResolver;
use super::{GuestMut, Host, reentry};
use crate::protocol::{SLEEP, operation, status};
#[cfg(feature = "async")]
use crate::util::block_on;
use crate::util::compute_slot;
pub(crate) use crate::value::HostFunction;
#[cfg(feature = "async")]
pub(crate) use crate::value::Pending;
use crate::value::host_values::HostValues;
use crate::value::{CallArgs, Error, ErrorKind, FromArgs, IntoArgs, Result, Value, codec};

impl HostFunction {
    pub(crate) fn plain<A: FromArgs, R: IntoArgs>(
        function: impl Fn(A) -> Result<R> + Send + Sync + 'static,
    ) -> HostFunction {
        HostFunction::Plain(Arc::new(move |values| {
            let args = A::from_args(CallArgs::new(values))?;
            function(args)?.push_args(values);
            Ok(())
        }))
    }
}

/// Host functions by number. A number is given out once, because Lua may know a function by it long after the host took
/// it away.
#[derive(Clone, Default)]
pub(crate) struct HostFunctions {
    list: BTreeMap<i32, Registered>,
    numbers: HashMap<Arc<str>, i32>,
    next: i32,
}

#[derive(Clone)]
struct Registered {
    name: Arc<str>,
    function: HostFunction,
    /// Whether a run that called it may be repeated.
    repeatable: bool,
}

/// The numbers that a guest knows functions by.
#[derive(Clone, Default)]
pub(crate) struct FunctionNames {
    pub(crate) list: Vec<(i32, Arc<str>)>,
    /// Above all that were ever given out.
    pub(crate) next: i32,
}

impl HostFunctions {
    /// Adds or replaces the function of that name; its number, and what was there before.
    pub(crate) fn add(&mut self, name: &str, function: HostFunction) -> Result<(i32, Option<HostFunction>)> {
        if let Some(number) = self.numbers.get(name) {
            let place = self.list.get_mut(number).map(|registered| &mut registered.function);
            return Ok((*number, place.map(|place| std::mem::replace(place, function))));
        }
        let number = self.next;
        self.insert(number, Registered { name: name.into(), function, repeatable: false })?;
        Ok((number, None))
    }

    fn insert(&mut self, number: i32, registered: Registered) -> Result<()> {
        let next = number.checked_add(1).ok_or_else(|| Error::invalid("too many host functions were registered"))?;
        self.next = self.next.max(next);
        self.numbers.insert(Arc::clone(&registered.name), number);
        self.list.insert(number, registered);
        Ok(())
    }

    pub(crate) fn set_repeatable(&mut self, number: i32, repeatable: bool) {
        if let Some(registered) = self.list.get_mut(&number) {
            registered.repeatable = repeatable;
        }
    }

    fn is_repeatable(&self, number: i32) -> bool {
        self.list.get(&number).is_some_and(|registered| registered.repeatable)
    }

    /// Takes away what `add` added.
    pub(crate) fn put_back(&mut self, number: i32, before: Option<HostFunction>) {
        match (before, self.list.get_mut(&number)) {
            (Some(before), Some(registered)) => registered.function = before,
            _ => drop(self.take(number)),
        }
    }

    fn take(&mut self, number: i32) -> Option<Registered> {
        let registered = self.list.remove(&number)?;
        self.numbers.remove(&registered.name);
        Some(registered)
    }

    /// Takes the function of that name away; its number.
    pub(crate) fn remove(&mut self, name: &str) -> Option<i32> {
        let number = *self.numbers.get(name)?;
        self.take(number).map(|_| number)
    }

    /// Names and numbers of all functions.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i32, Arc<str>)> + '_ {
        self.list.iter().map(|(number, registered)| (*number, Arc::clone(&registered.name)))
    }

    pub(crate) fn names(&self) -> FunctionNames {
        FunctionNames { list: self.iter().collect(), next: self.next }
    }

    /// These functions under the numbers that a guest knows them by; those that it does not know get new ones.
    pub(crate) fn renumbered(&self, names: &FunctionNames) -> Result<HostFunctions> {
        let mut all = HostFunctions { next: names.next, ..HostFunctions::default() };
        for (number, name) in &names.list {
            if let Some(registered) = self.numbers.get(name).and_then(|own| self.list.get(own)) {
                all.insert(*number, registered.clone())?;
            }
        }
        for registered in self.list.values() {
            if !all.numbers.contains_key(&registered.name) {
                all.insert(all.next, registered.clone())?;
            }
        }
        Ok(all)
    }

    /// `None` when it was taken away.
    fn find(&self, number: i32) -> Option<HostFunction> {
        self.list.get(&number).map(|registered| registered.function.clone())
    }

    pub(crate) fn name(&self, number: i32) -> Arc<str> {
        self.list
            .get(&number)
            .map_or_else(|| "a function without a name".into(), |registered| Arc::clone(&registered.name))
    }
}

/// A name that can be registered: Lua names with dots between them.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let is_name = |part: &str| {
        part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && part.chars().next().is_some_and(|c| !c.is_ascii_digit())
    };
    if name.split('.').all(is_name) {
        return Ok(());
    }
    Err(Error::invalid(format!("'{name}' is not a name for a host function: use Lua names with dots between them")))
}

/// What a call gave.
pub(super) enum Answer {
    /// In the list of the call.
    Results,
    Error(Error),
    Limit(ErrorKind),
    /// It comes later; to a call that can't wait, that it can't be had.
    Later,
}

impl Answer {
    /// What a function gave that was waited for, or the limit that ended it.
    #[cfg(feature = "async")]
    pub(super) fn of(result: Result<Result<Vec<Value>>, ErrorKind>, values: &mut Vec<Value>) -> Self {
        match result {
            Ok(Ok(results)) => {
                *values = results;
                Answer::Results
            }
            Ok(Err(error)) => Answer::Error(error),
            Err(kind) => Answer::Limit(kind),
        }
    }
}

/// A list of values with more room than this is not kept.
const KEPT_VALUES: usize = 256;

/// The guest calls a host function: runs it and writes the answer, as the channel wants it.
pub(crate) fn answer_call(guest: &mut GuestMut<'_>, request: i32, len: i32, answer: i32, max_len: i32) -> i32 {
    // Kept for its room; a call inside this one makes its own.
    guest.host().drop_gone();
    let mut values = std::mem::take(&mut guest.host().args);
    let behind = std::mem::take(&mut guest.host().run.attempt.causes);
    let given = match read_call(guest, request, len, &mut values) {
        Some(Ok(called)) => call(guest, called, &mut values),
        // Lua's own mistake, not that of a host function.
        Some(Err(error)) => Some(Answer::Error(error.nested())),
        None => None,
    };
    let Some(given) = given else {
        guest.host().run.attempt.causes = behind;
        return -1;
    };
    release_handles(guest);
    let Ok((memory, host)) = guest.memory_and_host() else {
        return -1;
    };
    let mut bytes = std::mem::take(&mut host.scratch);
    encode(host, given, &values, &mut bytes);
    let length = host.deliver(memory, &mut bytes, answer, max_len);
    host.scratch = bytes;
    host.run.attempt.causes = behind;
    if values.capacity() <= KEPT_VALUES {
        values.clear();
        host.args = values;
    }
    length
}

/// Tells the guest of functions that nobody needs any more, when they are many: a script may pass ever new ones.
#[inline]
fn release_handles(guest: &mut GuestMut<'_>) {
    const MANY: usize = 64;
    let host = guest.host();
    // With a virtual clock nothing may depend on when the host lets go of something.
    if host.virtual_clock.is_none()
        && let Some(resolver) = &host.run.resolver
        && resolver.owner().held().released.len() >= MANY
    {
        let ids: Vec<u32> = resolver.take_released().collect();
        for id in ids {
            if let Err(error) = guest.release_handle(id.cast_signed()) {
                guest.host().run.attempt.unreported.get_or_insert(error);
                return;
            }
        }
    }
}

/// What the guest calls.
#[derive(Clone, Copy)]
struct Called {
    number: i32,
    /// The number for an answer that comes later, where the call can wait.
    request: Option<u32>,
    /// How much memory the arguments take.
    size: u64,
}

/// The arguments are added to `values`.
fn read_call(guest: &mut GuestMut<'_>, request: i32, len: i32, values: &mut Vec<Value>) -> Option<Result<Called>> {
    let (memory, host) = guest.memory_and_host().ok()?;
    let (operation, payload) = super::memory_slice::part(memory, request, len)?.split_first()?;
    let (number, mut args) = payload.split_first_chunk()?;
    let mut request = None;
    if *operation == operation::REQUEST {
        let (number, rest) = args.split_first_chunk()?;
        (request, args) = (Some(u32::from_le_bytes(*number)), rest);
    }
    let resolver = host.run.resolver.as_ref()?;
    let number = i32::from_le_bytes(*number);
    let size = codec::decode_into(args, resolver, values);
    Some(size.map(|size| Called { number, request, size: (size + args.len()) as u64 }))
}

/// `None` when there is no such function any more; the guest knows its name.
fn call(guest: &mut GuestMut<'_>, called: Called, values: &mut Vec<Value>) -> Option<Answer> {
    let host = guest.host();
    if let Some(kind) = host.run.attempt.limit {
        return Some(Answer::Limit(kind));
    }
    if host.run.attempt.host_calls >= host.run.limits.host_calls {
        return Some(Answer::Limit(host.end_by(ErrorKind::HostCallLimit)));
    }
    host.run.attempt.host_calls += 1;
    if called.number == SLEEP.cast_signed() {
        return Some(sleep(guest, called.request, values));
    }
    let function = match HostValues::is_one(called.number) {
        true => host.values.call_of(called.number)?,
        false => host.functions.find(called.number)?,
    };
    if !host.functions.is_repeatable(called.number) {
        host.run.attempt.unrepeatable.get_or_insert(called.number);
    }
    Some(call_function(guest, function, called, values))
}

#[inline]
fn call_function(guest: &mut GuestMut<'_>, function: HostFunction, called: Called, values: &mut Vec<Value>) -> Answer {
    let HostFunction::Plain(function) = function else {
        return call_waiting(guest, function, called, values);
    };
    match call_now(guest, || function(values)) {
        Ok(()) => Answer::Results,
        Err(answer) => answer,
    }
}

/// Calls a function whose results may come later, for which what it was given is held.
#[cold]
fn call_waiting(guest: &mut GuestMut<'_>, function: HostFunction, called: Called, values: &mut Vec<Value>) -> Answer {
    let Some(request) = called.request else {
        return call_later(guest, function, called, values);
    };
    let most = guest.host().run.limits.memory;
    if !guest.host().run.attempt.requests().has_room(called.size, most) {
        return Answer::Error(too_much_is_held().nested());
    }
    let answer = call_later(guest, function, called, values);
    if matches!(answer, Answer::Later) {
        guest.host().run.attempt.requests().hold(request, called.size);
    }
    answer
}

/// What a function gives on this thread, or what to answer if it gives nothing.
#[inline]
fn call_now<T>(guest: &mut GuestMut<'_>, function: impl FnOnce() -> Result<T>) -> Result<T, Answer> {
    let host = guest.host();
    let Some(sandbox) = host.run.resolver.as_ref().map(|resolver| Arc::as_ptr(resolver.owner()).cast::<()>()) else {
        return Err(Answer::Error(Error::internal("a host function is called outside of a run")));
    };
    host.run.attempt.nesting += 1;
    let call = || catch_unwind(AssertUnwindSafe(function));
    let result = reentry::while_in_host_function(guest, sandbox, || compute_slot::in_host(call));
    guest.host().run.attempt.nesting -= 1;
    if let Some(kind) = guest.host().check_limits_cheaply() {
        return Err(Answer::Limit(kind));
    }
    match result {
        Ok(result) => result.map_err(Answer::Error),
        Err(panic) => Err(Answer::Error(panicked(&*panic))),
    }
}

fn call_later(guest: &mut GuestMut<'_>, function: HostFunction, called: Called, values: &mut Vec<Value>) -> Answer {
    let host = guest.host();
    match function {
        #[cfg(feature = "async")]
        HostFunction::Future(function) => {
            if is_driven(host) && called.request.is_none() && !compute_slot::is_at_work() {
                return Answer::Later;
            }
            match call_now(guest, || Ok(function(values))) {
                Ok(pending) => wait_for(guest, pending, called, values),
                Err(answer) => answer,
            }
        }
        #[cfg(feature = "async")]
        HostFunction::MayWait(function) => {
            let given = call_now(guest, || function(values));
            may_wait(guest, given, called, values)
        }
        #[cfg(feature = "async")]
        HostFunction::OfLanguage(function) => {
            let owner = host.run.resolver.as_ref().map(|resolver| Arc::clone(resolver.owner()));
            let language = owner.as_ref().and_then(|owner| owner.held().language.get());
            let given = call_now(guest, || function(language, values));
            may_wait(guest, given, called, values)
        }
        _ => match (host.run.waits, called.request) {
            (Waits::Started, Some(request)) => {
                let open = OpenRequest { name: host.functions.name(called.number), args: std::mem::take(values) };
                host.run.attempt.requests().open.insert(request, open);
                Answer::Later
            }
            (Waits::Started, None) => Answer::Later,
            _ => Answer::Error(nobody_answers(&host.functions.name(called.number))),
        },
    }
}

/// A function has given its results, or a future of them.
#[cfg(feature = "async")]
fn may_wait(
    guest: &mut GuestMut<'_>,
    given: Result<Option<Pending>, Answer>,
    called: Called,
    values: &mut Vec<Value>,
) -> Answer {
    match given {
        Ok(None) => Answer::Results,
        Ok(Some(pending)) => wait_for(guest, pending, called, values),
        Err(answer) => answer,
    }
}

/// Whether who polls the run drives the futures that it waits for.
#[cfg(feature = "async")]
fn is_driven(host: &Host) -> bool {
    host.run.waits == Waits::Driven && host.run.attempt.nesting == 0
}

/// The results of a call come from a future.
#[cfg(feature = "async")]
fn wait_for(guest: &mut GuestMut<'_>, pending: Pending, called: Called, values: &mut Vec<Value>) -> Answer {
    let host = guest.host();
    if is_driven(host) {
        match called.request {
            Some(request) => host.run.attempt.requests().begun.push((request, pending)),
            // Where Lua can't be put aside, a thread of our own waits.
            None if compute_slot::is_at_work() => return wait_here(guest, pending, values),
            None => {}
        }
        return Answer::Later;
    }
    // Nobody further out can wait: this thread does.
    wait_here(guest, pending, values)
}

/// This thread waits for the results of a call.
#[cfg(feature = "async")]
fn wait_here(guest: &mut GuestMut<'_>, pending: Pending, values: &mut Vec<Value>) -> Answer {
    let host = guest.host();
    let Some(resolver) = host.run.resolver.clone() else {
        return Answer::Error(Error::internal("a host function is called outside of a run"));
    };
    Answer::of(block_on(super::host_future::drive(guest, &resolver, pending)), values)
}

/// A script lets some seconds pass, the first of `values`.
fn sleep(guest: &mut GuestMut<'_>, request: Option<u32>, values: &mut Vec<Value>) -> Answer {
    let host = guest.host();
    let seconds = values.first().and_then(Value::as_number).unwrap_or_default();
    let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    if let Some(clock) = &mut host.virtual_clock {
        clock.pass(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        values.clear();
        return Answer::Results;
    }
    match (host.run.waits, request) {
        #[cfg(feature = "async")]
        (Waits::Driven, Some(number)) => {
            let pending: Pending = Box::pin(async move {
                futures_timer::Delay::new(time).await;
                Ok(Vec::new())
            });
            host.run.attempt.requests().begun.push((number, pending));
            Answer::Later
        }
        (Waits::Started, Some(number)) => {
            let args = std::mem::take(values);
            host.run.attempt.requests().open.insert(number, OpenRequest { name: "task.sleep".into(), args });
            Answer::Later
        }
        (Waits::Never, _) => sleep_here(guest, time, values),
        // As for host functions.
        #[cfg(feature = "async")]
        (Waits::Driven, None) if compute_slot::is_at_work() => sleep_here(guest, time, values),
        _ => Answer::Later,
    }
}

/// The thread waits.
fn sleep_here(guest: &mut GuestMut<'_>, time: Duration, values: &mut Vec<Value>) -> Answer {
    values.clear();
    let host = guest.host();
    let until = Instant::now().checked_add(time);
    let signal = Arc::clone(&host.signal);
    loop {
        let end = [until, host.run.deadline].into_iter().flatten().min();
        compute_slot::in_host(|| signal.pause(end.unwrap_or_else(|| Instant::now() + Duration::from_secs(1))));
        if let Some(kind) = host.check_limits() {
            return Answer::Limit(kind);
        }
        if until.is_some_and(|until| until <= Instant::now()) {
            return Answer::Results;
        }
    }
}

/// What a panic in a host function becomes. The panic's own text has gone to where panics go.
pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::opaque(format!("the host function panicked: {}", text.unwrap_or("no message")))
}

pub(super) fn encode(host: &mut Host, answer: Answer, values: &[Value], out: &mut Vec<u8>) {
    out.clear();
    let resolver = host.run.resolver.as_ref();
    let error = match answer {
        Answer::Results => {
            out.push(status::RESULTS);
            match encode_values(values, out, resolver) {
                Ok(()) => return,
                Err(error) => Error::new(error.kind(), error.message().replacen("argument", "result", 1)),
            }
        }
        Answer::Limit(kind) => {
            out.push(status::LIMIT);
            out.extend_from_slice(&host.report_limit(kind).to_le_bytes());
            return;
        }
        Answer::Later => return out.push(status::WAITING),
        Answer::Error(error) => error,
    };
    out.clear();
    out.push(status::ERROR);
    // What Lua itself raised passes through as it was; the host's own errors are kept, to come out again when nothing
    // catches them.
    let passes = error.is_nested() && error.kind() != ErrorKind::HostFunction;
    let value = error.lua_value();
    let add_place = !passes && !error.is_nested();
    let kind = if passes { u8::try_from(error.kind().number()).unwrap_or_default() << 1 } else { 0 };
    out.push(u8::from(add_place) | kind);
    let number_at = out.len();
    out.extend_from_slice(&0u32.to_le_bytes());
    let start = out.len();
    if encode_values(&[value], out, host.run.resolver.as_ref()).is_err() {
        out.truncate(start);
        let text = Value::from("the host function failed with a value that can't be passed");
        let _ = encode_values(&[text], out, host.run.resolver.as_ref());
    }
    let bytes = out.len() - start;
    if !passes && let Some(place) = out.get_mut(number_at..start) {
        place.copy_from_slice(&host.keep_error(error, bytes).to_le_bytes());
    }
}

#[inline]
fn encode_values(values: &[Value], out: &mut Vec<u8>, resolver: Option<&SandboxResolver>) -> Result<()> {
    let resolver = resolver.ok_or_else(|| Error::internal("a host function answers outside of a run"))?;
    codec::encode_args(values, out, resolver)
}
