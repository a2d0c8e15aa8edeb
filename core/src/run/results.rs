//! The guest's answers, turned into what the caller gets.

use crate::guest::GuestMut;
use crate::guest::resolver::SandboxResolver;
use crate::value::{Error, ErrorKind, LuaString, Metrics, Outcome, Result, Value, codec};

impl GuestMut<'_> {
    /// Reads a successful run's output and results. The metrics are the caller's to fill in.
    #[inline]
    pub(crate) fn read_success(&mut self, n: i32, resolver: &SandboxResolver) -> Result<Outcome> {
        let n = n.cast_unsigned();
        if n > self.state().layout.buffer.size {
            self.refresh_buffer()?;
        }
        read_result(self.result(n)?, resolver)
    }

    /// Reads what a failed run says of itself.
    #[cold]
    pub(crate) fn read_failure(&mut self, n: i32, resolver: &SandboxResolver) -> Error {
        self.read_error(n, resolver).unwrap_or_else(|error| error)
    }

    fn read_error(&mut self, n: i32, resolver: &SandboxResolver) -> Result<Error> {
        // The message may have moved the buffer.
        self.refresh_buffer()?;
        let len =
            u32::try_from(-i64::from(n) - 1).map_err(|_| Error::internal("the guest gave an impossible length"))?;
        let message = LuaString::new(self.result(len)?);
        if self.revision() >= 2 && self.has_error_details() {
            let len = self.get_error_details()?;
            if len != 0 {
                self.refresh_buffer()?;
                let values = codec::decode(self.result(len.cast_unsigned())?, resolver)?;
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
        if let Some(time) = &mut host.virtual_clock {
            time.pass(ticks);
        }
        // The guest may take a few more until it asks.
        let instructions = ticks.min(host.run.limits.instructions);
        let wall_time = match (&host.virtual_clock, host.run.started) {
            (None, Some(started)) => started.elapsed(),
            _ => std::time::Duration::ZERO,
        };
        Metrics {
            wall_time,
            instructions,
            peak_memory,
            host_calls: host.run.attempt.host_calls,
            bytes_stored: host.run.attempt.bytes_stored,
        }
    }
}

/// Output and values of a successful run.
#[inline]
fn read_result(bytes: &[u8], resolver: &SandboxResolver) -> Result<Outcome> {
    if bytes.is_empty() {
        return Ok(Outcome::default());
    }
    let (len, rest) = bytes
        .split_first_chunk()
        .ok_or_else(|| Error::internal("the guest gave a result that is too short").fatal())?;
    let (output, values) = rest
        .split_at_checked(u32::from_le_bytes(*len) as usize)
        .ok_or_else(|| Error::internal("the guest claims more output than it gave").fatal())?;
    let output = LuaString::new(output);
    #[cfg(feature = "serde")]
    if resolver.keeps_encoded() {
        let encoded = Some(values.to_vec());
        let values = if codec::needs_sandbox(values) { codec::decode(values, resolver)? } else { Vec::new() };
        return Ok(Outcome { output, values, encoded, ..Outcome::default() });
    }
    Ok(Outcome { output, values: codec::decode(values, resolver)?, ..Outcome::default() })
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
