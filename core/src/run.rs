//! A run, from what the guest answers to what the caller gets.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use crate::codec;
use crate::host::{Share, limit_error};
use crate::instance::{Context, Entry};
use crate::limits::{Limits, SetLimits};
use crate::sandbox::SandboxLinks;
use crate::value::{LuaString, Value};
use crate::{Error, ErrorKind, Metrics, Outcome, Result};

impl Context<'_> {
    /// Puts source and name into the buffer.
    #[inline]
    pub(crate) fn enter_source(&mut self, name: &[u8], source: &[u8], args: &[u8]) -> Result<Entry> {
        self.reserve(name.len() + source.len() + args.len())?;
        self.write(&[name, source, args])?;
        Ok(Entry::ComputeNamed {
            name_len: name.len() as i32,
            code_len: source.len() as i32,
            args_len: args.len() as i32,
        })
    }

    /// Reads a successful run's output and results.
    #[inline]
    pub(crate) fn read_success(&mut self, n: i32, links: &SandboxLinks) -> Result<(LuaString, Vec<Value>)> {
        let n = n.cast_unsigned();
        if n > self.data().buffer.size {
            self.refresh_buffer()?;
        }
        read_result(self.result(n)?, links)
    }

    /// Reads what a failed run says of itself.
    #[cold]
    pub(crate) fn read_failure(&mut self, n: i32, links: &SandboxLinks) -> Error {
        self.read_error(n, links).unwrap_or_else(|error| error)
    }

    fn read_error(&mut self, n: i32, links: &SandboxLinks) -> Result<Error> {
        // The message may have moved the buffer.
        self.refresh_buffer()?;
        let len =
            u32::try_from(-i64::from(n) - 1).map_err(|_| Error::internal("the guest gave an impossible length"))?;
        let message = LuaString::new(self.result(len)?);
        if self.data().revision >= 2 && self.has_error_details() {
            let len = self.get_error_details()?;
            if len != 0 {
                self.refresh_buffer()?;
                let values = codec::decode(self.result(len.cast_unsigned())?, links)?;
                let no_output = values.get(5).is_none_or(Value::is_nil);
                let (mut error, number) = details(&message, values);
                if no_output {
                    error = error.with_output(LuaString::new(self.captured_output()));
                }
                return Ok(self.host().explain(error, number));
            }
        }
        if message.is_empty() {
            return Ok(Error::new(ErrorKind::Runtime, "the guest refused the source and gave no message"));
        }
        let (chunk, line) = position(&message.to_string_lossy());
        Ok(Error::from_lua(ErrorKind::Runtime, &message).with_position(chunk, line))
    }

    /// What the run that ends here has used.
    #[inline]
    pub(crate) fn finish_metrics(&mut self) -> Metrics {
        let (ticks, peak_memory) = self.run_metrics();
        let host = self.host();
        if let Some(time) = &mut host.virtual_time {
            time.pass(ticks);
        }
        // The guest may take a few more until it asks.
        let instructions = ticks.min(host.limits.instructions);
        let wall_time = match (&host.virtual_time, host.started) {
            (None, Some(started)) => started.elapsed(),
            _ => std::time::Duration::ZERO,
        };
        Metrics { wall_time, instructions, peak_memory, host_calls: host.host_calls, bytes_stored: host.bytes_stored }
    }

    /// A run inside a run: a host function uses its own sandbox. What it writes and prints belongs to the outer run, whose limits hold for it. Limits of
    /// its own end it alone.
    pub(crate) fn run_nested(
        &mut self,
        set: Option<&SetLimits>,
        enter: impl FnOnce(&mut Context<'_>, &SandboxLinks, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Outcome> {
        let Some(set) = set.filter(|set| **set != SetLimits::default()) else {
            let result = self.run_or_doom(enter);
            return self.doomed_by(result);
        };
        let outer = self.narrow(set)?;
        let limits = self.host().limits;
        let result = self.change_limits(&limits).and_then(|()| self.run_or_doom(enter));
        let widened = self.widen(outer, set, &result);
        self.doomed_by(result.and_then(|outcome| widened.map(|()| outcome)))
    }

    /// After a crash the guest that called can't go on either.
    pub(crate) fn doomed_by<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result
            && error.is_fatal()
        {
            let host = self.host();
            host.doomed.get_or_insert_with(|| error.clone());
            host.refuse(error.kind());
        }
        result
    }

    /// The host's part of narrower limits. `widen` has to follow.
    fn narrow(&mut self, set: &SetLimits) -> Result<Outer> {
        if set.commit_on_error.is_some() {
            return Err(Error::invalid("commit_on_error is for the outermost run to decide"));
        }
        if !self.has_limit_review() {
            return Err(Error::invalid("this guest can't bound a run inside another one"));
        }
        let printed = self.review_limits()?.cast_unsigned().into();
        let host = self.host();
        let outer = Outer { limits: host.limits, deadline: host.deadline };
        host.limits = set.within(&outer.limits, host.host_calls, printed);
        if let Some(deadline) = set.timeout.flatten().and_then(|timeout| Instant::now().checked_add(timeout)) {
            host.set_deadline(Some(outer.deadline.map_or(deadline, |outer| outer.min(deadline))));
        }
        host.shares.push(Share { instructions: set.instructions.unwrap_or(u64::MAX), from: None });
        Ok(outer)
    }

    /// The outer run's limits hold again. When the inner one reached one of its own, the outer one may go on.
    fn widen(&mut self, outer: Outer, set: &SetLimits, result: &Result<Outcome>) -> Result<()> {
        let host = self.host();
        let inner = std::mem::replace(&mut host.limits, outer.limits);
        host.set_deadline(outer.deadline);
        host.shares.pop();
        let instructions_left = host.instructions_left();
        if result.as_ref().is_err_and(Error::is_fatal) {
            return Ok(());
        }
        self.change_limits(&outer.limits)?;
        let own = match result.as_ref().map_err(Error::kind) {
            Err(ErrorKind::Timeout) => {
                set.timeout.flatten().is_some() && outer.deadline.is_none_or(|deadline| Instant::now() < deadline)
            }
            Err(ErrorKind::InstructionLimit) => set.instructions.is_some() && instructions_left > 0,
            Err(ErrorKind::HostCallLimit) => inner.host_calls < outer.limits.host_calls,
            Err(ErrorKind::StoreLimit) => inner.store != outer.limits.store,
            Err(ErrorKind::OutputLimit) => inner.output < outer.limits.output,
            _ => false,
        };
        if own {
            self.host().forget_refusal();
            self.review_limits()?;
        }
        Ok(())
    }

    /// As `run_inside`. What the host calls there may panic, a store for one. That leaves the guest in the middle of the run, as a crash does.
    fn run_or_doom(
        &mut self,
        enter: impl FnOnce(&mut Context<'_>, &SandboxLinks, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Outcome> {
        catch_unwind(AssertUnwindSafe(|| self.run_inside(enter))).unwrap_or_else(|panic| {
            let _ = self
                .doomed_by::<()>(Err(Error::new(ErrorKind::Trap, "a run inside this one ended in a panic").fatal()));
            resume_unwind(panic)
        })
    }

    fn run_inside(
        &mut self,
        enter: impl FnOnce(&mut Context<'_>, &SandboxLinks, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Outcome> {
        let links = self.host().links.clone().ok_or_else(Error::busy)?;
        let started = Instant::now();
        let entry = enter(self, &links, &mut Vec::new())?;
        let n = self.execute(entry)?;
        if n < 0 {
            return Err(self.read_failure(n, &links).nested());
        }
        let (output, values) = self.read_success(n, &links)?;
        if let Some(kind) = self.host().refused {
            return Err(limit_error(kind).with_output(output).nested());
        }
        let wall_time = if self.host().virtual_time.is_some() { Default::default() } else { started.elapsed() };
        Ok(Outcome { values, output, metrics: Metrics { wall_time, ..Metrics::default() } })
    }
}

/// The limits of a run, while one inside it has narrower ones.
struct Outer {
    limits: Limits,
    deadline: Option<Instant>,
}

/// Output and values of a successful run.
#[inline]
fn read_result(bytes: &[u8], links: &SandboxLinks) -> Result<(LuaString, Vec<Value>)> {
    if bytes.is_empty() {
        return Ok((LuaString::default(), Vec::new()));
    }
    let (len, rest) = bytes
        .split_first_chunk()
        .ok_or_else(|| Error::internal("the guest gave a result that is too short").fatal())?;
    let (output, values) = rest
        .split_at_checked(u32::from_le_bytes(*len) as usize)
        .ok_or_else(|| Error::internal("the guest claims more output than it gave").fatal())?;
    Ok((LuaString::new(output), codec::decode(values, links)?))
}

/// The error that `get_error_details` describes, and the number of the host's error that it was.
fn details(message: &LuaString, values: Vec<Value>) -> (Error, i64) {
    let mut values = values.into_iter();
    let mut next = || values.next().unwrap_or_default();
    let kind = next().as_integer().and_then(|n| u16::try_from(n).ok()).and_then(ErrorKind::from_number);
    let message = match next() {
        Value::String(text) => text,
        _ => message.clone(),
    };
    let text = |value: Value| match value {
        Value::String(text) => Some(text.to_string_lossy().into_owned()),
        _ => None,
    };
    let chunk = text(next());
    let line = next().as_integer().and_then(|n| u32::try_from(n).ok());
    let traceback = text(next());
    let output = match next() {
        Value::String(text) => text,
        _ => LuaString::default(),
    };
    let value = next();
    let number = next().as_integer().unwrap_or_default();
    let error = Error::from_lua(kind.unwrap_or(ErrorKind::Runtime), &message)
        .with_position(chunk, line)
        .with_traceback(traceback)
        .with_output(output)
        .with_value(value);
    (error, number)
}

/// Chunk and line at the start of a message in Lua's usual form.
fn position(message: &str) -> (Option<String>, Option<u32>) {
    let after = message.strip_prefix("[string \"").and_then(|rest| rest.find("\"]:")).map_or(0, |i| i + 9 + 2);
    let Some(end) = message.get(after..).and_then(|rest| rest.find(':')).map(|i| i + after) else {
        return (None, None);
    };
    let (chunk, rest) = message.split_at(end);
    let digits: String = rest.chars().skip(1).take_while(char::is_ascii_digit).collect();
    let complete = rest.get(1 + digits.len()..).is_some_and(|rest| rest.starts_with(':'));
    match digits.parse() {
        Ok(line) if complete => (Some(chunk.to_owned()), Some(line)),
        _ => (None, None),
    }
}
