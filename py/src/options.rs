//! What keyword arguments mean: limits, sizes, times, text.

use std::time::Duration;

use luacell::{ComputeOptions, ErrorKind, SandboxConfig, StoreLimit};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::errors;

/// An argument that makes no sense. It is named, and shown up to a length.
#[cold]
fn senseless(value: &Bound<'_, PyAny>, name: &str, wanted: &str) -> PyErr {
    // Python refuses to write numbers of thousands of digits.
    let shown = value
        .repr()
        .map_or_else(|_| "a number of thousands of digits".to_owned(), |text| text.to_string_lossy().into_owned());
    let shown: String = shown.chars().take(100).collect();
    errors::new(value.py(), ErrorKind::InvalidArgument, format!("{name}: {shown} is no {wanted}"))
}

/// An argument of a type that makes no sense.
#[cold]
pub fn wrong_type(value: &Bound<'_, PyAny>, wanted: &str) -> PyErr {
    let name = value.get_type().name().map(|name| name.to_string()).unwrap_or_default();
    errors::new(value.py(), ErrorKind::InvalidArgument, format!("{wanted}, not {name}"))
}

/// Text for Rust. Python's may hold lone surrogates.
pub fn text<'a>(text: &'a Bound<'_, PyString>, name: &str) -> PyResult<&'a str> {
    text.to_str().map_err(|_| errors::conversion(text.py(), format!("text with lone surrogates is not UTF-8 ({name})")))
}

/// Lua source: text or bytes.
pub fn source<'a>(code: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    if let Ok(text) = code.cast::<PyString>() {
        return self::text(text, "source").map(str::as_bytes);
    }
    match code.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes()),
        Err(_) => Err(PyTypeError::new_err("the source has to be str or bytes")),
    }
}

/// An int in the range of its Rust type.
pub fn number<'py, T>(value: &Bound<'py, PyAny>, name: &str, range: &str) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py, Error = PyErr>,
{
    value.extract().map_err(|_| senseless(value, name, &format!("number {range}")))
}

/// Bytes: a number, text such as `"64MiB"`, or None for no limit.
pub fn size(value: &Bound<'_, PyAny>, name: &str) -> PyResult<u64> {
    match value.cast::<PyString>() {
        Ok(size) => luacell::parse_size(text(size, name)?)
            .map_err(|error| errors::new(value.py(), error.kind(), format!("{name}: {error}"))),
        Err(_) => count(value, name),
    }
}

/// A number, or None for no limit.
fn count(value: &Bound<'_, PyAny>, name: &str) -> PyResult<u64> {
    if value.is_none() {
        return Ok(u64::MAX);
    }
    value.extract().map_err(|_| senseless(value, name, "limit: use a number from 0, or None"))
}

/// Seconds, text such as `"500ms"`, a `timedelta`, or None for no limit.
pub fn time(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Option<Duration>> {
    if value.is_none() {
        return Ok(None);
    }
    if let Ok(time) = value.cast::<PyString>() {
        return luacell::parse_time(text(time, name)?)
            .map(Some)
            .map_err(|error| errors::new(value.py(), error.kind(), format!("{name}: {error}")));
    }
    let seconds = match value.getattr("total_seconds") {
        Ok(total) => total.call0()?.extract::<f64>(),
        Err(_) => value.extract::<f64>(),
    };
    let no_time = || senseless(value, name, "time: use seconds from 0, text such as '500ms', a timedelta, or None");
    // None says that there is no limit; infinity is more likely the result of a calculation that went wrong.
    let seconds = seconds.ok().filter(|seconds| seconds.is_finite()).ok_or_else(no_time)?;
    // What is too long to say is no limit.
    if seconds >= Duration::MAX.as_secs_f64() {
        return Ok(None);
    }
    Duration::try_from_secs_f64(seconds).map(Some).map_err(|_| no_time())
}

/// What limits can be set on.
pub trait Limited: Sized {
    fn memory_limit(self, bytes: u64) -> Self;
    fn instruction_limit(self, instructions: u64) -> Self;
    fn timeout(self, timeout: Option<Duration>) -> Self;
    fn output_limit(self, bytes: u64) -> Self;
    fn store_limit(self, limit: StoreLimit) -> Self;
    fn host_call_limit(self, calls: u64) -> Self;
    fn source_limit(self, bytes: u64) -> Self;
}

macro_rules! limited {
    ($type:ty) => {
        impl Limited for $type {
            fn memory_limit(self, bytes: u64) -> Self {
                self.memory_limit(bytes)
            }
            fn instruction_limit(self, instructions: u64) -> Self {
                self.instruction_limit(instructions)
            }
            fn timeout(self, timeout: Option<Duration>) -> Self {
                self.timeout(timeout)
            }
            fn output_limit(self, bytes: u64) -> Self {
                self.output_limit(bytes)
            }
            fn store_limit(self, limit: StoreLimit) -> Self {
                self.store_limit(limit)
            }
            fn host_call_limit(self, calls: u64) -> Self {
                self.host_call_limit(calls)
            }
            fn source_limit(self, bytes: u64) -> Self {
                self.source_limit(bytes)
            }
        }
    };
}

limited!(SandboxConfig);
limited!(ComputeOptions);

/// A keyword argument that may be absent, which is something else than None.
#[derive(Clone)]
pub struct Given<'py>(pub Option<Bound<'py, PyAny>>);

impl Given<'_> {
    pub const ABSENT: Self = Given(None);
}

impl<'a, 'py> FromPyObject<'a, 'py> for Given<'py> {
    type Error = std::convert::Infallible;

    fn extract(object: pyo3::Borrowed<'a, 'py, PyAny>) -> Result<Self, Self::Error> {
        Ok(Given(Some(object.to_owned())))
    }
}

/// The limits as keyword arguments, in the order of the methods' signatures.
pub type Limits<'py> = [Given<'py>; 8];

const NAMES: [&str; 8] = [
    "memory_limit",
    "instruction_limit",
    "timeout",
    "output_limit",
    "store_limit",
    "store_entries",
    "host_call_limit",
    "source_limit",
];

/// Sets the limits that are given.
#[inline]
pub fn set_given<T: Limited>(target: T, limits: &Limits<'_>) -> PyResult<T> {
    if limits.iter().all(|limit| limit.0.is_none()) {
        return Ok(target);
    }
    let given = NAMES.iter().zip(limits).filter_map(|(name, value)| Some(((*name).to_owned(), value.0.clone()?)));
    set_each(target, given)
}

/// Sets the limits that these keyword arguments name.
pub fn set_limits<T: Limited>(target: T, limits: Option<&Bound<'_, PyDict>>) -> PyResult<T> {
    let Some(limits) = limits else {
        return Ok(target);
    };
    let all = limits.iter().map(|(name, value)| Ok((name.extract()?, value))).collect::<PyResult<Vec<_>>>()?;
    set_each(target, all)
}

fn set_each<'py, T: Limited>(
    mut target: T,
    limits: impl IntoIterator<Item = (String, Bound<'py, PyAny>)>,
) -> PyResult<T> {
    let mut store = (None, None);
    for (name, value) in limits {
        target = match name.as_str() {
            "memory_limit" => target.memory_limit(size(&value, &name)?),
            "instruction_limit" => target.instruction_limit(count(&value, &name)?),
            "timeout" => target.timeout(time(&value, &name)?),
            "output_limit" => target.output_limit(size(&value, &name)?),
            "host_call_limit" => target.host_call_limit(count(&value, &name)?),
            "source_limit" => target.source_limit(size(&value, &name)?),
            "store_limit" => {
                store.0 = Some(size(&value, &name)?);
                target
            }
            "store_entries" => {
                store.1 = Some(count(&value, &name)?);
                target
            }
            other => {
                let names = NAMES.join(", ");
                return Err(PyTypeError::new_err(format!(
                    "unexpected keyword argument '{other}' (limits are {names})"
                )));
            }
        };
    }
    Ok(match store {
        (None, None) => target,
        (bytes, entries) => target.store_limit(StoreLimit::new(bytes.unwrap_or(u64::MAX), entries.unwrap_or(u64::MAX))),
    })
}
