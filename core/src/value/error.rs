//! What can go wrong, with stable numbers that every language shares.

use std::fmt;

use crate::protocol::LIMIT_MESSAGES;
use crate::value::{LuaString, Metrics, Value};

/// What a script sees of a failure that the host chose to say nothing about.
pub(crate) const HOST_FAILED: &str = "the host function failed";

/// The result of an operation on a sandbox.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! error_kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal,)+) => {
        /// What kind of failure an [`Error`] is. The numbers are stable: they are never reused, and they
        /// are the same in every language binding and in `lua.wasm` itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl ErrorKind {
            /// Every kind, in the order of the numbers.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$name,)+];

            /// The name, as it is written in every language.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(ErrorKind::$name => stringify!($name),)+
                }
            }

            /// The kind with this number, if there is one.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<ErrorKind> {
                match number {
                    $($number => Some(ErrorKind::$name),)+
                    _ => None,
                }
            }
        }
    };
}

crate::for_each_error_kind!(error_kinds);

impl ErrorKind {
    /// The number of this kind.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A failure, with everything that is known about it.
///
/// It is one pointer wide and cheap to return. [`Display`](fmt::Display) gives the message. Chunk and line of a Lua
/// error are already part of its message, as in PUC Lua.
#[derive(Clone)]
pub struct Error(Box<Details>);

#[derive(Clone)]
struct Details {
    kind: ErrorKind,
    message: String,
    /// The message, if it is not UTF-8.
    raw_message: Option<LuaString>,
    chunk: Option<String>,
    line: Option<u32>,
    traceback: Option<String>,
    output: LuaString,
    value: Value,
    metrics: Metrics,
    source: Option<std::sync::Arc<dyn std::error::Error + Send + Sync>>,
    /// What scripts get to see, if the message is only for the host.
    shown: Option<LuaString>,
    /// The part of the message that is only for the host, if it comes after what scripts see.
    hidden: Option<String>,
    /// Whether the guest can't be used after this.
    fatal: bool,
    /// Whether a host function got it from its own sandbox.
    nested: bool,
    /// Whether `value` is to be raised in Lua.
    raises: bool,
}

impl Error {
    /// A new error of this kind with this message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Details {
            kind,
            message: message.into(),
            raw_message: None,
            chunk: None,
            line: None,
            traceback: None,
            output: LuaString::default(),
            value: Value::Nil,
            metrics: Metrics::default(),
            source: None,
            shown: None,
            hidden: None,
            fatal: false,
            nested: false,
            raises: false,
        }))
    }

    /// The same error, with more to its message.
    pub(crate) fn explained(mut self, more: &str) -> Self {
        self.0.message = format!("{}; {more}", self.0.message);
        self
    }

    /// For host functions, and for sources of modules: an error with this cause, text or any error. The script sees its
    /// text, so use text that is meant for scripts. If the script does not catch the error, the cause is the
    /// [`source`](std::error::Error::source) of the run's error.
    pub fn host(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let cause = cause.into();
        let mut error = Error::new(ErrorKind::HostFunction, cause.to_string());
        error.0.source = Some(cause.into());
        error
    }

    /// Like [`host`](Self::host), with a cause whose text is not for scripts, such as an error of the operating system:
    /// they see only that the host failed. The host finds the text in the message of the run's error.
    pub fn opaque(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error::host(cause).shown_as(HOST_FAILED)
    }

    /// The same error, with another text for scripts to see: the message is only for the host.
    #[must_use]
    pub fn shown_as(mut self, text: &str) -> Self {
        self.0.shown = Some(text.into());
        self
    }

    /// What scripts see of it, if the message is only for the host.
    #[must_use]
    pub fn shown(&self) -> Option<&LuaString> {
        self.0.shown.as_ref()
    }

    /// For host functions: raises this value in the script, as `error(value)` does in Lua.
    pub fn raise(value: impl Into<Value>) -> Self {
        let value = value.into();
        let message = match &value {
            Value::String(text) => text.to_string_lossy().into_owned(),
            other => format!("(error object is a {} value)", other.type_name()),
        };
        let mut error = Error::new(ErrorKind::HostFunction, message).with_value(value);
        error.0.raises = true;
        error
    }

    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message. For a Lua error it is what PUC Lua would print, with the position but without the traceback.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The message as the script made it. A Lua message may be any bytes; [`message`](Self::message) shows U+FFFD for
    /// bytes that are not UTF-8.
    #[must_use]
    pub fn message_bytes(&self) -> &[u8] {
        self.0.raw_message.as_ref().map_or(self.0.message.as_bytes(), LuaString::as_bytes)
    }

    /// The chunk in which a Lua error happened, as in Lua's `short_src`.
    #[must_use]
    pub fn chunk(&self) -> Option<&str> {
        self.0.chunk.as_deref()
    }

    /// The line in [`chunk`](Self::chunk), from 1.
    #[must_use]
    pub fn line(&self) -> Option<u32> {
        self.0.line
    }

    /// Lua's traceback, several lines of text.
    #[must_use]
    pub fn traceback(&self) -> Option<&str> {
        self.0.traceback.as_deref()
    }

    /// What the script printed before it failed.
    #[must_use]
    pub fn output(&self) -> &LuaString {
        &self.0.output
    }

    /// The Lua error value if it was not a string (`error({code = 7})`), else [`Value::Nil`].
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0.value
    }

    /// What the script used before it failed.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Attaches the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(std::sync::Arc::new(source));
        self
    }

    pub(crate) fn with_boxed_source(mut self, source: Box<dyn std::error::Error + Send + Sync>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// An error with a message that Lua made.
    pub(crate) fn from_lua(kind: ErrorKind, message: &LuaString) -> Self {
        let mut error = Error::new(kind, message.to_string_lossy());
        if message.as_str().is_none() {
            error.0.raw_message = Some(message.clone());
        }
        error
    }

    pub(crate) fn with_position(mut self, chunk: Option<String>, line: Option<u32>) -> Self {
        self.0.chunk = chunk;
        self.0.line = line;
        self
    }

    pub(crate) fn with_traceback(mut self, traceback: Option<String>) -> Self {
        self.0.traceback = traceback;
        self
    }

    pub(crate) fn with_output(mut self, output: LuaString) -> Self {
        self.0.output = output;
        self
    }

    pub(crate) fn with_value(mut self, value: Value) -> Self {
        self.0.value = value;
        self
    }

    pub(crate) fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.0.metrics = metrics;
        self
    }

    /// The guest crashed or broke its contract: it can't be used after this.
    pub(crate) fn fatal(mut self) -> Self {
        self.0.fatal = true;
        self
    }

    pub(crate) fn is_fatal(&self) -> bool {
        self.0.fatal
    }

    /// A run that a host function started in its own sandbox gave this.
    pub(crate) fn nested(mut self) -> Self {
        self.0.nested = true;
        self
    }

    /// What Lua sees of it.
    pub(crate) fn lua_value(&self) -> Value {
        match &self.0.value {
            Value::Nil if !self.0.raises => Value::String(self.lua_text()),
            value => value.clone(),
        }
    }

    /// The text that scripts see.
    fn lua_text(&self) -> LuaString {
        match &self.0.shown {
            Some(text) => text.clone(),
            None if self.0.message.is_empty() && !self.0.nested => HOST_FAILED.into(),
            None => LuaString::new(self.message_bytes()),
        }
    }

    /// The text that the host chose for scripts, if it did.
    pub(crate) fn chosen(&self) -> Option<LuaString> {
        (self.0.kind == ErrorKind::HostFunction && self.0.shown.is_none()).then(|| self.lua_text())
    }

    /// What its texts take.
    pub(crate) fn own_bytes(&self) -> usize {
        let Details { message, raw_message, traceback, output, .. } = &*self.0;
        let raw = raw_message.as_ref().map_or(0, |raw| raw.as_bytes().len());
        message.len() + raw + traceback.as_ref().map_or(0, String::len) + output.as_bytes().len()
    }

    pub(crate) fn is_nested(&self) -> bool {
        self.0.nested
    }

    /// What comes out of a run that failed with an error of a host function: Lua's view of it, and the function's error
    /// behind it.
    pub(crate) fn caused_by_host(mut self, cause: Error) -> Self {
        let made_by_host = cause.0.kind == ErrorKind::HostFunction;
        self.0.source = Some(match cause.0.source.clone() {
            Some(source) if made_by_host => source,
            // A value that was raised has nothing behind it.
            _ if made_by_host && cause.0.raises => return self,
            _ => std::sync::Arc::new(cause.clone()),
        });
        self.reveal(&cause)
    }

    /// What comes out of a run that failed because the store did.
    pub(crate) fn caused_by_store(mut self, failure: Error) -> Self {
        self.0.source.clone_from(&failure.0.source);
        self.reveal(&failure)
    }

    /// As [`caused_by_host`](Self::caused_by_host), without what lies behind it.
    pub(crate) fn ending_causes(self, cause: &Error) -> Self {
        self.reveal(cause)
    }

    /// Adds for the host what the script did not see of the cause. What a script passes on again and again doesn't
    /// become longer by that.
    fn reveal(mut self, cause: &Error) -> Self {
        const MOST: usize = 1 << 14;
        if cause.0.shown.is_some() {
            self.0.shown = Some(LuaString::new(self.message_bytes()));
            self.0.raw_message = None;
            let text = cause.0.hidden.as_deref().unwrap_or(&cause.0.message);
            let text: String = text.get(..text.floor_char_boundary(MOST)).unwrap_or(text).to_owned();
            self.0.message = format!("{}: {text}", self.0.message);
            self.0.hidden = Some(text);
        }
        self
    }

    /// The error of a limit that the guest did not raise itself, in its words.
    #[cold]
    pub(crate) fn limit(kind: ErrorKind) -> Self {
        let words = LIMIT_MESSAGES.iter().find(|(number, _)| *number == kind.number());
        Error::new(kind, words.map_or("stopped by the host", |(_, message)| *message))
    }

    pub(crate) fn busy() -> Self {
        Error::new(ErrorKind::Busy, "the sandbox is in use by another caller")
    }

    pub(crate) fn closed() -> Self {
        Error::new(ErrorKind::Closed, "the sandbox is closed")
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn conversion(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Conversion, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Internal, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind).field("message", &self.0.message);
        if let Some(chunk) = &self.0.chunk {
            out.field("chunk", chunk);
        }
        if let Some(line) = &self.0.line {
            out.field("line", line);
        }
        if let Some(traceback) = &self.0.traceback {
            out.field("traceback", traceback);
        }
        out.finish_non_exhaustive()
    }
}

/// As [`Error::opaque`] has it: what the text of any error tells is not meant for scripts. One of luacell stays what it is.
impl From<Box<dyn std::error::Error + Send + Sync>> for Error {
    fn from(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => Error::opaque(error),
        }
    }
}

macro_rules! opaque {
    ($($error:ty)+) => {$(
        /// As [`Error::opaque`] has it.
        impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Error::opaque(error)
            }
        }
    )+};
}

opaque!(std::io::Error std::num::ParseIntError std::num::ParseFloatError std::num::TryFromIntError);
opaque!(std::str::Utf8Error std::string::FromUtf8Error std::fmt::Error std::time::SystemTimeError);

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as &(dyn std::error::Error + 'static))
    }
}
