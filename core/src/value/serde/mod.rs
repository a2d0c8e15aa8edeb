//! Between encoded values and whatever serde knows, without a [`Value`] in between.

mod deserialize;
mod serialize;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use deserialize::{arguments, results};
pub use serialize::SerializeArgs;

use crate::value::binding_codec::{NoHandles, encode};
use crate::value::{Args, Error, LuaString, Outcome, Result, Value};

impl serde::ser::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Error::conversion(message.to_string())
    }
}

impl serde::de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Error::conversion(message.to_string())
    }
}

impl Value {
    /// What a type serializes to, see [`Args::serialize`].
    ///
    /// # Errors
    /// As there.
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> Result<Value> {
        let mut args = Args::new();
        args.serialize(value)?;
        Ok(args.into_values()?.into_iter().next().unwrap_or_default())
    }

    /// The value as a type that can be deserialized, see [`Sandbox::compute_as`](crate::Sandbox::compute_as).
    ///
    /// # Errors
    /// `Conversion`, with the place in the value, if it does not fit.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T> {
        results(&encoded(std::slice::from_ref(self))?)
    }
}

impl Outcome {
    /// The returned values as a type that can be deserialized, see [`Sandbox::compute_as`](crate::Sandbox::compute_as).
    ///
    /// # Errors
    /// `Conversion`, with the place in the value, if they do not fit.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T> {
        match &self.encoded {
            Some(bytes) => results(bytes),
            None => results(&encoded(&self.values)?),
        }
    }
}

/// Values in the form that types are read from. Functions and kept tables are places that no type can be read from.
pub(crate) fn encoded(values: &[Value]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    encode(values, &mut bytes, &NoHandles)?;
    Ok(bytes)
}

/// Bytes, text or not.
impl Serialize for LuaString {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.as_bytes())
    }
}

impl<'de> serde::Deserialize<'de> for LuaString {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = LuaString;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> std::result::Result<LuaString, E> {
                Ok(LuaString::from(text))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> std::result::Result<LuaString, E> {
                Ok(LuaString::new(bytes))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}
