//! What JavaScript hears about runs.

use std::fmt;

use luacell::{Error, Metrics, Outcome, Value};
use napi_derive::napi;

use crate::handles::Handles;
use crate::value::{Copied, ToJs, encode};

/// An exception of JavaScript's, by the number under which that side keeps it.
#[derive(Debug)]
pub(crate) struct Thrown {
    pub(crate) number: u32,
    pub(crate) message: String,
}

impl fmt::Display for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Thrown {}

/// What a run used.
#[napi(object, object_from_js = false)]
pub struct MetricNumbers {
    /// Milliseconds.
    pub wall_time: f64,
    /// Instructions.
    pub instructions: f64,
    /// Bytes.
    pub peak_memory: f64,
    /// Calls.
    pub host_calls: f64,
    /// Bytes.
    pub bytes_stored: f64,
}

impl From<&Metrics> for MetricNumbers {
    fn from(metrics: &Metrics) -> Self {
        MetricNumbers {
            wall_time: metrics.wall_time.as_secs_f64() * 1000.0,
            instructions: metrics.instructions as f64,
            peak_memory: metrics.peak_memory as f64,
            host_calls: metrics.host_calls as f64,
            bytes_stored: metrics.bytes_stored as f64,
        }
    }
}

/// Results, output and metrics of a run.
#[napi(object, object_from_js = false)]
pub struct Finished {
    /// All results, encoded.
    #[napi(ts_type = "Buffer")]
    pub values: Copied,
    /// What was printed.
    #[napi(ts_type = "Buffer")]
    pub output: Copied,
    /// What was used.
    pub metrics: MetricNumbers,
}

impl Finished {
    pub(crate) fn of(outcome: &Outcome, handles: &Handles) -> ToJs {
        match encode(&outcome.values, handles) {
            Ok(bytes) => ToJs::Finished(Box::new(Finished {
                values: Copied(bytes),
                output: Copied(outcome.output.as_bytes().to_vec()),
                metrics: (&outcome.metrics).into(),
            })),
            Err(error) => ToJs::failed(&error, handles),
        }
    }
}

/// An error, with everything that is known about it.
#[napi(object, object_from_js = false)]
pub struct Failure {
    /// The name of the kind.
    pub kind: String,
    /// The message.
    pub message: String,
    /// What scripts see, where the message is for the host alone.
    pub shown: Option<String>,
    /// The message where it is not UTF-8.
    #[napi(ts_type = "Buffer")]
    pub message_bytes: Option<Copied>,
    /// The line.
    pub line: Option<u32>,
    /// The chunk.
    pub chunk_name: Option<String>,
    /// Lua's traceback.
    pub traceback: Option<String>,
    /// What was printed.
    #[napi(ts_type = "Buffer")]
    pub output: Copied,
    /// The error value, encoded, when it was no string.
    #[napi(ts_type = "Buffer")]
    pub value: Option<Copied>,
    /// What was used.
    pub metrics: MetricNumbers,
    /// The number of the exception behind it.
    pub thrown: Option<u32>,
    /// The number under which it is kept while a host function may pass it on.
    pub nested: Option<u32>,
    /// Another error behind it, that was no exception of JavaScript's.
    pub reason: Option<String>,
}

impl Failure {
    pub(crate) fn of(error: &Error, handles: &Handles) -> Self {
        let mut thrown = None;
        let mut reason = None;
        let mut source = std::error::Error::source(error);
        while let Some(behind) = source {
            thrown = behind.downcast_ref::<Thrown>().map(|thrown| thrown.number).or(thrown);
            if reason.is_none() {
                reason = Some(behind.to_string());
            }
            source = behind.source();
        }
        let value = match error.value() {
            Value::Nil => None,
            value => encode(std::slice::from_ref(value), handles).ok().map(Copied),
        };
        let bytes = error.message_bytes();
        Failure {
            kind: error.kind().name().to_owned(),
            message: error.message().to_owned(),
            shown: error.shown().map(|text| text.to_string_lossy().into_owned()),
            message_bytes: std::str::from_utf8(bytes).is_err().then(|| Copied(bytes.to_vec())),
            line: error.line(),
            chunk_name: error.chunk().map(str::to_owned),
            traceback: error.traceback().map(str::to_owned),
            output: Copied(error.output().as_bytes().to_vec()),
            value,
            metrics: error.metrics().into(),
            thrown,
            nested: handles.keep_error(error),
            reason,
        }
    }
}
