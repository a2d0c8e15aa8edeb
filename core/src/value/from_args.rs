//! The arguments of host functions as Rust types.

use std::vec::Drain;

use super::{Error, FromValue, Result, Value};

/// The arguments of a call of a host function, taken one after the other.
pub struct CallArgs<'a> {
    values: Drain<'a, Value>,
    /// How many were taken.
    taken: usize,
}

impl<'a> CallArgs<'a> {
    #[inline]
    pub(crate) fn new(values: &'a mut Vec<Value>) -> Self {
        CallArgs { values: values.drain(..), taken: 0 }
    }

    /// Those behind the first, which is the object whose method is called.
    #[inline]
    pub(crate) fn behind_self(values: &'a mut Vec<Value>) -> Self {
        let mut values = values.drain(..);
        values.next();
        CallArgs { values, taken: 0 }
    }

    /// The next parameter of the function: nil where the script passes fewer arguments.
    ///
    /// # Errors
    /// `Conversion` if it does not fit, naming its position.
    #[inline]
    pub fn parameter<T: FromArg>(&mut self) -> Result<T> {
        T::from_arg(self)
    }

    #[inline]
    fn convert<T: FromValue>(&mut self, value: Value) -> Result<T> {
        let position = self.taken;
        T::from_value(value)
            .map_err(|error| Error::new(error.kind(), format!("bad argument #{position} ({})", error.message())))
    }
}

impl Iterator for CallArgs<'_> {
    type Item = Value;

    #[inline]
    fn next(&mut self) -> Option<Value> {
        self.taken += 1;
        self.values.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.values.size_hint()
    }
}

impl ExactSizeIterator for CallArgs<'_> {}

/// What one parameter of a host function takes: a type that a [`Value`] can become, the
/// [`Caller`](crate::Caller), or [`Variadic`] for all arguments that are left.
pub trait FromArg: Sized {
    /// Takes what it needs from the arguments.
    ///
    /// # Errors
    /// `Conversion` if it does not fit, naming the position of the argument.
    fn from_arg(args: &mut CallArgs<'_>) -> Result<Self>;
}

impl<T: FromValue> FromArg for T {
    #[inline]
    fn from_arg(args: &mut CallArgs<'_>) -> Result<Self> {
        let value = args.next().unwrap_or_default();
        args.convert(value)
    }
}

/// All arguments that are left, or several results: the last parameter of a host function, or its only one.
///
/// ```
/// use luacell::{Sandbox, Variadic};
///
/// let lua = Sandbox::new()?;
/// lua.register("join", |(with, words): (String, Variadic<String>)| Ok(words.join(&with)))?;
/// assert_eq!(lua.compute("return join('-', 'a', 'b', 'c')")?.get::<String>()?, "a-b-c");
/// # Ok::<(), luacell::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variadic<T>(pub Vec<T>);

impl<T: FromValue> FromArg for Variadic<T> {
    #[inline]
    fn from_arg(args: &mut CallArgs<'_>) -> Result<Self> {
        let mut list = Vec::with_capacity(args.len());
        while let Some(value) = args.next() {
            list.push(args.convert(value)?);
        }
        Ok(Variadic(list))
    }
}

impl<T> std::ops::Deref for Variadic<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> IntoIterator for Variadic<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T: Into<Value>> super::IntoArgs for Variadic<T> {
    #[inline]
    fn push_args(self, list: &mut Vec<Value>) {
        self.0.push_args(list);
    }
}

/// What a host function takes: one [parameter](FromArg), or a tuple of them. `()` takes no argument, `Vec<Value>` all
/// of them, and a `Vec` of anything else is one parameter, a list.
///
/// Missing arguments are nil, and extra ones are dropped, as in Lua.
pub trait FromArgs: Sized {
    /// The arguments as these types.
    ///
    /// # Errors
    /// `Conversion` if one does not fit, naming its position.
    fn from_args(args: CallArgs<'_>) -> Result<Self>;
}

impl<T: FromValue> FromArgs for T {
    #[inline]
    fn from_args(args: CallArgs<'_>) -> Result<Self> {
        T::from_only_parameter(args)
    }
}

impl<T: FromValue> FromArgs for Variadic<T> {
    #[inline]
    fn from_args(mut args: CallArgs<'_>) -> Result<Self> {
        args.parameter()
    }
}

macro_rules! tuple_from_args {
    ($($name:ident)+) => {
        impl<$($name: FromArg),+> FromArgs for ($($name,)+) {
            #[inline]
            fn from_args(mut args: CallArgs<'_>) -> Result<Self> {
                Ok(($(args.parameter::<$name>()?,)+))
            }
        }
    };
}

tuple_from_args!(A);
tuple_from_args!(A B);
tuple_from_args!(A B C);
tuple_from_args!(A B C D);
tuple_from_args!(A B C D E);
tuple_from_args!(A B C D E F);
tuple_from_args!(A B C D E F G);
tuple_from_args!(A B C D E F G H);
