//! Values on their way between Lua and JavaScript.

#![allow(
    unsafe_code,
    reason = "napi's conversion traits are unsafe to implement; nothing here but their own conversions is called"
)]

use std::sync::Arc;

use luacell::{Error, LuaString, Value, wire};
use napi::bindgen_prelude::{BigInt, BufferSlice, FromNapiValue, Null, ToNapiValue, TypeName, i64n};
use napi::{Env, ValueType, sys};

use crate::failure::{Failure, Finished};
use crate::handles::Handles;
use crate::run::NativeRun;
use crate::sandbox::{Inner, NativeSandbox};

/// What goes to JavaScript.
pub enum ToJs {
    /// `undefined`
    Nothing,
    Nil,
    Boolean(bool),
    Number(f64),
    BigInteger(i64),
    Text(LuaString),
    /// Encoded values.
    Bytes(Vec<u8>),
    /// What a run with options gave.
    Finished(Box<Finished>),
    Failed(Box<Failure>),
    /// A sandbox that was made on another thread.
    Sandbox(Arc<Inner>),
    Run(Box<NativeRun>),
}

/// The largest integer up to which every integer is a number of JavaScript's.
const SAFE: i64 = (1 << 53) - 1;

impl ToJs {
    /// A value that needs no encoding.
    #[inline]
    pub(crate) fn simple(value: &Value) -> Option<ToJs> {
        Some(match value {
            Value::Nil => ToJs::Nil,
            Value::Boolean(b) => ToJs::Boolean(*b),
            Value::Integer(n) if (-SAFE..=SAFE).contains(n) => ToJs::Number(*n as f64),
            Value::Integer(n) => ToJs::BigInteger(*n),
            Value::Float(x) => ToJs::Number(*x),
            Value::String(s) if s.as_str().is_some() => ToJs::Text(s.clone()),
            _ => return None,
        })
    }

    /// One value as itself when it is simple and `exact` is off, else its bytes.
    #[inline]
    pub(crate) fn value(value: &Value, handles: &Handles, exact: bool) -> ToJs {
        match ToJs::simple(value) {
            Some(simple) if !exact => simple,
            _ => ToJs::values(std::slice::from_ref(value), handles),
        }
    }

    /// The results of a run: nothing, one value, or the bytes of several.
    #[inline]
    pub(crate) fn results(values: &[Value], handles: &Handles, exact: bool) -> ToJs {
        match values {
            [] => ToJs::Nothing,
            [value] => ToJs::value(value, handles, exact),
            _ => ToJs::values(values, handles),
        }
    }

    pub(crate) fn values(values: &[Value], handles: &Handles) -> ToJs {
        match encode(values, handles) {
            Ok(bytes) => ToJs::Bytes(bytes),
            Err(error) => ToJs::failed(&error, handles),
        }
    }

    #[cold]
    pub(crate) fn failed(error: &Error, handles: &Handles) -> ToJs {
        ToJs::Failed(Box::new(Failure::of(error, handles)))
    }
}

pub(crate) fn encode(values: &[Value], handles: &Handles) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    wire::encode(values, &mut bytes, handles)?;
    Ok(bytes)
}

impl ToNapiValue for ToJs {
    unsafe fn to_napi_value(env: sys::napi_env, value: Self) -> napi::Result<sys::napi_value> {
        // SAFETY: `env` is the one that this was called with.
        unsafe {
            match value {
                ToJs::Nothing => <()>::to_napi_value(env, ()),
                ToJs::Nil => Null::to_napi_value(env, Null),
                ToJs::Boolean(b) => bool::to_napi_value(env, b),
                ToJs::Number(x) => f64::to_napi_value(env, x),
                ToJs::BigInteger(n) => i64n::to_napi_value(env, i64n(n)),
                ToJs::Text(text) => <&str>::to_napi_value(env, text.as_str().unwrap_or_default()),
                ToJs::Bytes(bytes) => Copied::to_napi_value(env, Copied(bytes)),
                ToJs::Finished(finished) => Finished::to_napi_value(env, *finished),
                ToJs::Failed(failure) => Failure::to_napi_value(env, *failure),
                ToJs::Run(run) => NativeRun::to_napi_value(env, *run),
                ToJs::Sandbox(inner) => NativeSandbox::to_napi_value(env, NativeSandbox::new(inner)),
            }
        }
    }
}

/// Bytes that become a buffer of JavaScript's own: one that stayed ours would cost more, and be freed late.
pub struct Copied(pub(crate) Vec<u8>);

impl ToNapiValue for Copied {
    unsafe fn to_napi_value(env: sys::napi_env, bytes: Self) -> napi::Result<sys::napi_value> {
        let copy = BufferSlice::copy_from(&Env::from_raw(env), bytes.0)?;
        // SAFETY: `env` is the one that this was called with.
        unsafe { <&BufferSlice<'_>>::to_napi_value(env, &copy) }
    }
}

/// What comes from JavaScript.
pub enum FromJs {
    /// `undefined`
    Nothing,
    Nil,
    Boolean(bool),
    Number(f64),
    BigInteger(BigInt),
    Text(String),
    /// Encoded values.
    Bytes(Vec<u8>),
}

impl FromJs {
    /// One value. A number without fraction is an integer where floats are not kept apart.
    pub(crate) fn value(self, handles: &Handles) -> Result<Value, Error> {
        Ok(match self {
            FromJs::Nothing | FromJs::Nil => Value::Nil,
            FromJs::Boolean(b) => Value::Boolean(b),
            FromJs::Number(x) => number(x),
            FromJs::BigInteger(n) => match n.get_i64() {
                (n, true) => Value::Integer(n),
                _ => {
                    return Err(Error::new(
                        luacell::ErrorKind::Conversion,
                        "an integer of more than 64 bits can't be passed",
                    ));
                }
            },
            FromJs::Text(text) => Value::from(text),
            FromJs::Bytes(bytes) => wire::decode(&bytes, handles)?.into_iter().next().unwrap_or_default(),
        })
    }
}

/// A number of JavaScript's: an integer when it is one exactly.
fn number(x: f64) -> Value {
    let whole = x as i64;
    let exact = (-SAFE..=SAFE).contains(&whole) && (whole as f64).to_bits() == x.to_bits();
    if exact { Value::Integer(whole) } else { Value::Float(x) }
}

impl TypeName for FromJs {
    fn type_name() -> &'static str {
        "value"
    }
    fn value_type() -> ValueType {
        ValueType::Unknown
    }
}

impl napi::bindgen_prelude::ValidateNapiValue for FromJs {}

impl FromNapiValue for FromJs {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        let mut kind = 0;
        // SAFETY: env and value are those of this call.
        unsafe {
            sys::napi_typeof(env, value, &mut kind);
            Ok(match kind {
                sys::ValueType::napi_undefined => FromJs::Nothing,
                sys::ValueType::napi_null => FromJs::Nil,
                sys::ValueType::napi_boolean => FromJs::Boolean(bool::from_napi_value(env, value)?),
                sys::ValueType::napi_number => FromJs::Number(f64::from_napi_value(env, value)?),
                sys::ValueType::napi_bigint => FromJs::BigInteger(BigInt::from_napi_value(env, value)?),
                sys::ValueType::napi_string => FromJs::Text(String::from_napi_value(env, value)?),
                _ => FromJs::Bytes(<&[u8]>::from_napi_value(env, value)?.to_vec()),
            })
        }
    }
}
