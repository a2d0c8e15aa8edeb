//! The results of runs.

use crate::value::{FromValue, LuaString, Metrics, Result, Value};

/// The results of a run.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// All returned values, in order.
    pub values: Vec<Value>,
    /// What the script printed.
    pub output: LuaString,
    /// What the run used.
    pub metrics: Metrics,
    /// The values as the guest gave them, of a run for which that was wanted. `values` may be empty then.
    #[cfg(feature = "serde")]
    pub(crate) encoded: Option<Vec<u8>>,
}

impl Outcome {
    /// The first returned value, or nil.
    #[must_use]
    pub fn value(&self) -> &Value {
        self.values.first().unwrap_or(&Value::Nil)
    }

    /// The first returned value, or nil.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.values.into_iter().next().unwrap_or_default()
    }

    /// The first returned value as a Rust type.
    ///
    /// # Errors
    /// `Conversion` if it does not fit.
    pub fn get<T: FromValue>(&self) -> Result<T> {
        self.get_at(0)
    }

    /// The returned value at a position, from 0, as a Rust type; nil after the last one.
    ///
    /// # Errors
    /// `Conversion` if it does not fit.
    pub fn get_at<T: FromValue>(&self, position: usize) -> Result<T> {
        T::from_value(self.values.get(position).cloned().unwrap_or_default())
    }
}
