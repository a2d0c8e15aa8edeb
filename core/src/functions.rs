//! Host functions: what Lua calls by name.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::vec::Drain;

use crate::codec;
use crate::host::Host;
use crate::instance::Context;
use crate::sandbox::SandboxLinks;
use crate::value::{FromValue, IntoArgs, LuaString, Value};
use crate::{Error, ErrorKind, Result, active};

/// A future that gives a host function's results.
#[cfg(feature = "async")]
pub(crate) type Pending = std::pin::Pin<Box<dyn Future<Output = Result<Vec<Value>>> + Send>>;

/// What takes its arguments out of a list.
type Taking<R> = Arc<dyn Fn(&mut Vec<Value>) -> R + Send + Sync>;

/// A host function.
#[derive(Clone)]
pub(crate) enum HostFunction {
    /// Leaves its results in the list.
    Plain(Taking<Result<()>>),
    #[cfg(feature = "async")]
    Future(Taking<Pending>),
}

impl HostFunction {
    pub(crate) fn plain<A: FromArgs, R: IntoArgs>(
        function: impl Fn(A) -> Result<R> + Send + Sync + 'static,
    ) -> HostFunction {
        HostFunction::Plain(Arc::new(move |values| {
            let args = A::from_args(values.drain(..))?;
            function(args)?.push_args(values);
            Ok(())
        }))
    }
}

/// Host functions by number. Numbers stay, because Lua knows functions by them.
#[derive(Clone, Default)]
pub(crate) struct Functions(Vec<Registered>);

#[derive(Clone)]
struct Registered {
    name: Arc<str>,
    /// `None` when it was taken away.
    function: Option<HostFunction>,
    /// Whether a run that called it may be repeated.
    repeatable: bool,
}

impl Functions {
    /// Adds or replaces the function of that name; its number, and what was there before.
    pub(crate) fn add(&mut self, name: &str, function: HostFunction) -> Result<(i32, Option<HostFunction>)> {
        if let Some(at) = self.position(name) {
            let place = self.0.get_mut(at).map(|registered| &mut registered.function);
            return Ok((at as i32, place.and_then(|place| place.replace(function))));
        }
        let number = i32::try_from(self.0.len()).map_err(|_| Error::invalid("too many host functions"))?;
        self.0.push(Registered { name: name.into(), function: Some(function), repeatable: false });
        Ok((number, None))
    }

    pub(crate) fn set_repeatable(&mut self, number: i32, repeatable: bool) {
        if let Some(registered) = self.0.get_mut(number as usize) {
            registered.repeatable = repeatable;
        }
    }

    fn is_repeatable(&self, number: u32) -> bool {
        self.0.get(number as usize).is_some_and(|registered| registered.repeatable)
    }

    /// Takes away what `add` added.
    pub(crate) fn put_back(&mut self, number: i32, before: Option<HostFunction>) {
        if let Some(registered) = self.0.get_mut(number as usize) {
            registered.function = before;
        }
    }

    /// Takes the function of that name away; its number.
    pub(crate) fn remove(&mut self, name: &str) -> Option<i32> {
        let at = self.position(name)?;
        self.0.get_mut(at)?.function.take()?;
        Some(at as i32)
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|registered| &*registered.name == name)
    }

    /// Names and numbers of all functions that are there.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i32, Arc<str>)> + '_ {
        let there = self.0.iter().enumerate().filter(|(_, registered)| registered.function.is_some());
        there.map(|(at, registered)| (at as i32, Arc::clone(&registered.name)))
    }

    /// The names of all numbers, and whether the function is there.
    pub(crate) fn names(&self) -> impl Iterator<Item = (Arc<str>, bool)> + '_ {
        self.0.iter().map(|registered| (Arc::clone(&registered.name), registered.function.is_some()))
    }

    /// These functions under the numbers that they have in a list of names; what the list does not have follows it.
    pub(crate) fn renumbered(&self, names: &[(Arc<str>, bool)]) -> Functions {
        let of_name = |name: &Arc<str>| match self.position(name).and_then(|at| self.0.get(at)) {
            Some(registered) => registered.clone(),
            None => Registered { name: Arc::clone(name), function: None, repeatable: false },
        };
        let listed: HashSet<&str> = names.iter().map(|(name, _)| &**name).collect();
        let others = self.0.iter().filter(|registered| !listed.contains(&*registered.name)).cloned();
        Functions(names.iter().map(|(name, _)| of_name(name)).chain(others).collect())
    }

    fn find(&self, number: u32) -> Result<HostFunction> {
        let Some(registered) = self.0.get(number as usize) else {
            return Err(Error::internal("the guest calls a host function that never was"));
        };
        let gone = || Error::host(format!("the host function '{}' is not registered", registered.name));
        registered.function.clone().ok_or_else(gone)
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
    Err(Error::invalid(format!("'{name}' is no name for a host function: use Lua names with dots between them")))
}

/// After each so many calls, beginning with the first, it is looked whether the run has to end.
const CLOCK_STEP: u64 = 8;

/// What a call gave.
enum Answer {
    /// In the list of the call.
    Results,
    Error(Error),
    Limit(ErrorKind),
    #[cfg(feature = "async")]
    Later,
}

#[cfg(feature = "async")]
impl Answer {
    /// What a function gave that was waited for, or the limit that ended it.
    fn of(result: Result<Result<Vec<Value>>, ErrorKind>, values: &mut Vec<Value>) -> Self {
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

mod status {
    pub(super) const RESULTS: u8 = 0;
    pub(super) const ERROR: u8 = 1;
    pub(super) const LIMIT: u8 = 2;
    #[cfg(feature = "async")]
    pub(super) const PENDING: u8 = 3;
}

/// A list of values with more room than this is not kept.
const KEPT_VALUES: usize = 256;

/// The guest calls a host function: runs it and writes the answer, as the channel wants it.
pub(crate) fn answer_call(context: &mut Context<'_>, request: i32, len: i32, answer: i32, max_len: i32) -> i32 {
    // Kept for its room; a call inside this one makes its own.
    let mut values = std::mem::take(&mut context.host().values);
    let given = match read_call(context, request, len, &mut values) {
        Some(Ok(number)) => call(context, number, &mut values),
        Some(Err(error)) => Answer::Error(error),
        None => return -1,
    };
    let Ok((memory, host)) = context.memory_and_host() else {
        return -1;
    };
    let mut bytes = std::mem::take(&mut host.scratch);
    encode(host, given, &values, &mut bytes);
    let length = host.deliver(memory, &mut bytes, answer, max_len);
    host.scratch = bytes;
    if values.capacity() <= KEPT_VALUES {
        values.clear();
        host.values = values;
    }
    length
}

/// The function's number; its arguments are added to `values`.
fn read_call(context: &mut Context<'_>, request: i32, len: i32, values: &mut Vec<Value>) -> Option<Result<u32>> {
    let (memory, host) = context.memory_and_host().ok()?;
    let payload = crate::host::part(memory, request, len)?.get(1..)?;
    let (number, args) = payload.split_first_chunk()?;
    let links = host.links.as_ref()?;
    Some(codec::decode_into(args, links, values).map(|()| u32::from_le_bytes(*number)))
}

fn call(context: &mut Context<'_>, number: u32, values: &mut Vec<Value>) -> Answer {
    let host = context.host();
    host.host_calls += 1;
    if host.host_calls > host.limits.host_calls {
        return Answer::Limit(host.refuse(ErrorKind::HostCallLimit));
    }
    host.called_unrepeatable |= !host.functions.is_repeatable(number);
    let function = match host.functions.find(number) {
        Ok(function) => function,
        Err(error) => return Answer::Error(error),
    };
    let result = match function {
        HostFunction::Plain(function) => {
            let Some(sandbox) = host.links.as_ref().map(|links| Arc::as_ptr(links.shared())) else {
                return Answer::Error(Error::internal("a host function is called outside of a run"));
            };
            host.nesting += 1;
            let result = active::during(context, sandbox, || catch_unwind(AssertUnwindSafe(|| function(values))));
            context.host().nesting -= 1;
            result.unwrap_or_else(|panic| Err(panicked(&*panic)))
        }
        #[cfg(feature = "async")]
        HostFunction::Future(function) => {
            let pending = match catch_unwind(AssertUnwindSafe(|| function(values))) {
                Ok(pending) => pending,
                Err(panic) => return Answer::Error(panicked(&*panic)),
            };
            if host.waits && host.nesting == 0 {
                host.pending = Some(pending);
                return Answer::Later;
            }
            let Some(links) = host.links.clone() else {
                return Answer::Error(Error::internal("a host function is called outside of a run"));
            };
            // Nobody further out can wait: this thread does.
            return Answer::of(crate::waiting::block_on(crate::waiting::finish(context, &links, pending)), values);
        }
    };
    // Looking at the clock takes as long as a small function: many of them are looked after by the guest's own counting.
    let host = context.host();
    if host.host_calls % CLOCK_STEP == 1
        && let Some(kind) = host.passed_limit()
    {
        return Answer::Limit(kind);
    }
    match result {
        Ok(()) => Answer::Results,
        Err(error) => Answer::Error(error),
    }
}

/// What a panic in a host function becomes. The panic's own text has gone to where panics go.
pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::opaque(format!("the host function panicked: {}", text.unwrap_or("no message")))
}

/// The answer of a function that was waited for, ready to be fetched; its length as the channel names it.
#[cfg(feature = "async")]
pub(crate) fn keep_answer(context: &mut Context<'_>, result: Result<Result<Vec<Value>>, ErrorKind>) -> i32 {
    let host = context.host();
    let mut values = Vec::new();
    let answer = Answer::of(result, &mut values);
    let mut bytes = Vec::new();
    encode(host, answer, &values, &mut bytes);
    host.keep(bytes)
}

fn encode(host: &mut Host, answer: Answer, values: &[Value], out: &mut Vec<u8>) {
    out.clear();
    let links = host.links.as_ref();
    let error = match answer {
        Answer::Results => {
            out.push(status::RESULTS);
            match encode_values(values, out, links) {
                Ok(()) => return,
                Err(error) => Error::new(error.kind(), error.message().replacen("argument", "result", 1)),
            }
        }
        Answer::Limit(kind) => {
            out.push(status::LIMIT);
            out.extend_from_slice(&u32::from(kind.number()).to_le_bytes());
            return;
        }
        #[cfg(feature = "async")]
        Answer::Later => return out.push(status::PENDING),
        Answer::Error(error) => error,
    };
    out.clear();
    out.push(status::ERROR);
    // What Lua itself raised passes through as it was; the host's own errors are kept, to come out again when nothing catches them.
    let passes = error.is_nested() && error.kind() != ErrorKind::HostFunction;
    let value = error.lua_value();
    let add_place = !passes && !error.is_nested();
    let kind = if passes { u8::try_from(error.kind().number()).unwrap_or_default() << 1 } else { 0 };
    out.push(u8::from(add_place) | kind);
    let number = if passes { 0 } else { host.keep_error(error) };
    out.extend_from_slice(&number.to_le_bytes());
    let start = out.len();
    if encode_values(&[value], out, host.links.as_ref()).is_err() {
        out.truncate(start);
        let text = Value::from("the host function failed with a value that can't be passed");
        let _ = encode_values(&[text], out, host.links.as_ref());
    }
}

#[inline]
fn encode_values(values: &[Value], out: &mut Vec<u8>, links: Option<&SandboxLinks>) -> Result<()> {
    let links = links.ok_or_else(|| Error::internal("a host function answers outside of a run"))?;
    codec::encode_args(values, out, links)
}

/// What a host function takes: a type that a [`Value`] can become, a tuple of such types, or `Vec<Value>` for whatever comes.
///
/// Arguments that are missing are nil, those beyond are dropped, as in Lua.
pub trait FromArgs: Sized {
    /// The arguments as these types.
    ///
    /// # Errors
    /// `Conversion` when one does not fit, naming its position.
    fn from_args(args: Drain<'_, Value>) -> Result<Self>;
}

#[inline]
fn argument<T: FromValue>(position: usize, value: Option<Value>) -> Result<T> {
    T::from_value(value.unwrap_or_default())
        .map_err(|e| Error::new(e.kind(), format!("bad argument #{position} ({})", e.message())))
}

impl FromArgs for Vec<Value> {
    #[inline]
    fn from_args(args: Drain<'_, Value>) -> Result<Self> {
        Ok(args.collect())
    }
}

impl FromArgs for () {
    #[inline]
    fn from_args(_: Drain<'_, Value>) -> Result<Self> {
        Ok(())
    }
}

macro_rules! one_arg {
    ($($type:ty)+) => {$(
        impl FromArgs for $type {
            #[inline]
            fn from_args(mut args: Drain<'_, Value>) -> Result<Self> {
                argument(1, args.next())
            }
        }
    )+};
}

one_arg!(bool i8 i16 i32 i64 u8 u16 u32 u64 isize usize f64 String LuaString Value);
one_arg!(crate::Table crate::StoredTable crate::Function);

impl<T: FromValue> FromArgs for Option<T> {
    #[inline]
    fn from_args(mut args: Drain<'_, Value>) -> Result<Self> {
        argument(1, args.next())
    }
}

macro_rules! tuple_from_args {
    ($($name:ident $position:literal)+) => {
        impl<$($name: FromValue),+> FromArgs for ($($name,)+) {
            #[inline]
            fn from_args(mut args: Drain<'_, Value>) -> Result<Self> {
                Ok(($(argument::<$name>($position, args.next())?,)+))
            }
        }
    };
}

tuple_from_args!(A 1);
tuple_from_args!(A 1 B 2);
tuple_from_args!(A 1 B 2 C 3);
tuple_from_args!(A 1 B 2 C 3 D 4);
tuple_from_args!(A 1 B 2 C 3 D 4 E 5);
tuple_from_args!(A 1 B 2 C 3 D 4 E 5 F 6);
tuple_from_args!(A 1 B 2 C 3 D 4 E 5 F 6 G 7);
tuple_from_args!(A 1 B 2 C 3 D 4 E 5 F 6 G 7 H 8);
