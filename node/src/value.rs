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
use crate::sandbox::{Inner, NativeSandbox};

/// What JavaScript gets.
pub enum Out {
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
}

/// The largest integer up to which every integer is a number of JavaScript's.
const SAFE: i64 = (1 << 53) - 1;

impl Out {
    /// A value that needs no encoding.
    #[inline]
    pub(crate) fn simple(value: &Value) -> Option<Out> {
        Some(match value {
            Value::Nil => Out::Nil,
            Value::Boolean(b) => Out::Boolean(*b),
            Value::Integer(n) if (-SAFE..=SAFE).contains(n) => Out::Number(*n as f64),
            Value::Integer(n) => Out::BigInteger(*n),
            Value::Float(x) => Out::Number(*x),
            Value::String(s) if s.as_str().is_some() => Out::Text(s.clone()),
            _ => return None,
        })
    }

    /// One value as itself when it is simple and `exact` is off, else its bytes.
    #[inline]
    pub(crate) fn value(value: &Value, handles: &Handles, exact: bool) -> Out {
        match Out::simple(value) {
            Some(simple) if !exact => simple,
            _ => Out::values(std::slice::from_ref(value), handles),
        }
    }

    /// The results of a run: nothing, one value, or the bytes of several.
    #[inline]
    pub(crate) fn results(values: &[Value], handles: &Handles, exact: bool) -> Out {
        match values {
            [] => Out::Nothing,
            [value] => Out::value(value, handles, exact),
            _ => Out::values(values, handles),
        }
    }

    pub(crate) fn values(values: &[Value], handles: &Handles) -> Out {
        match encode(values, handles) {
            Ok(bytes) => Out::Bytes(bytes),
            Err(error) => Out::failed(&error, handles),
        }
    }

    #[cold]
    pub(crate) fn failed(error: &Error, handles: &Handles) -> Out {
        Out::Failed(Box::new(Failure::of(error, handles)))
    }
}

pub(crate) fn encode(values: &[Value], handles: &Handles) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    wire::encode(values, &mut bytes, handles)?;
    Ok(bytes)
}

impl ToNapiValue for Out {
    unsafe fn to_napi_value(env: sys::napi_env, value: Self) -> napi::Result<sys::napi_value> {
        // SAFETY: `env` is the one that this was called with.
        unsafe {
            match value {
                Out::Nothing => <()>::to_napi_value(env, ()),
                Out::Nil => Null::to_napi_value(env, Null),
                Out::Boolean(b) => bool::to_napi_value(env, b),
                Out::Number(x) => f64::to_napi_value(env, x),
                Out::BigInteger(n) => i64n::to_napi_value(env, i64n(n)),
                Out::Text(text) => <&str>::to_napi_value(env, text.as_str().unwrap_or_default()),
                Out::Bytes(bytes) => Copied::to_napi_value(env, Copied(bytes)),
                Out::Finished(finished) => Finished::to_napi_value(env, *finished),
                Out::Failed(failure) => Failure::to_napi_value(env, *failure),
                Out::Sandbox(inner) => NativeSandbox::to_napi_value(env, NativeSandbox::new(inner)),
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

/// What JavaScript gives.
pub enum In {
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

impl In {
    /// One value. A number without fraction is an integer where floats are not kept apart.
    pub(crate) fn value(self, handles: &Handles) -> Result<Value, Error> {
        Ok(match self {
            In::Nothing | In::Nil => Value::Nil,
            In::Boolean(b) => Value::Boolean(b),
            In::Number(x) => number(x),
            In::BigInteger(n) => match n.get_i64() {
                (n, true) => Value::Integer(n),
                _ => {
                    return Err(Error::new(
                        luacell::ErrorKind::Conversion,
                        "an integer of more than 64 bits can't be passed",
                    ));
                }
            },
            In::Text(text) => Value::from(text),
            In::Bytes(bytes) => wire::decode(&bytes, handles)?.into_iter().next().unwrap_or_default(),
        })
    }
}

/// A number of JavaScript's: an integer when it is one exactly.
fn number(x: f64) -> Value {
    let whole = x as i64;
    let exact = (-SAFE..=SAFE).contains(&whole) && (whole as f64).to_bits() == x.to_bits();
    if exact { Value::Integer(whole) } else { Value::Float(x) }
}

impl TypeName for In {
    fn type_name() -> &'static str {
        "value"
    }
    fn value_type() -> ValueType {
        ValueType::Unknown
    }
}

impl napi::bindgen_prelude::ValidateNapiValue for In {}

impl FromNapiValue for In {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        let mut kind = 0;
        // SAFETY: env and value are those of this call.
        unsafe {
            sys::napi_typeof(env, value, &mut kind);
            Ok(match kind {
                sys::ValueType::napi_undefined => In::Nothing,
                sys::ValueType::napi_null => In::Nil,
                sys::ValueType::napi_boolean => In::Boolean(bool::from_napi_value(env, value)?),
                sys::ValueType::napi_number => In::Number(f64::from_napi_value(env, value)?),
                sys::ValueType::napi_bigint => In::BigInteger(BigInt::from_napi_value(env, value)?),
                sys::ValueType::napi_string => In::Text(String::from_napi_value(env, value)?),
                _ => In::Bytes(<&[u8]>::from_napi_value(env, value)?.to_vec()),
            })
        }
    }
}
