//! Functions of the host, as Lua calls them.

use std::any::Any;
use std::sync::Arc;

use super::{Error, Result, Value};

/// A future that gives a host function's results.
#[cfg(feature = "async")]
pub(crate) type Pending = std::pin::Pin<Box<dyn Future<Output = Result<Vec<Value>>> + Send>>;

/// A host function that may fail with an error of any type, for `?` on whatever it calls. Scripts see of it only that the
/// host failed, as for [`Error::opaque`]; an [`Error`] stays what it is.
///
/// ```
/// use luacell::{Sandbox, fallible};
///
/// let lua = Sandbox::new()?;
/// let parse = |text: String| -> Result<f64, Box<dyn std::error::Error + Send + Sync>> { Ok(text.trim().parse()?) };
/// lua.register("parse", fallible(parse))?;
/// assert_eq!(lua.compute("return parse(' 2.5 ')")?.get::<f64>()?, 2.5);
/// assert_eq!(lua.compute("parse('x')").unwrap_err().kind(), luacell::ErrorKind::HostFunction);
/// # Ok::<(), luacell::Error>(())
/// ```
pub fn fallible<A, R, E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    function: impl Fn(A) -> Result<R, E> + Send + Sync + 'static,
) -> impl Fn(A) -> Result<R> + Send + Sync + 'static {
    move |args| function(args).map_err(|error| Error::from(error.into()))
}

/// What a binding knows a sandbox by.
pub type LanguageData = Arc<dyn Any + Send + Sync>;

/// What takes its arguments out of a list.
type ArgsFn<R> = Arc<dyn Fn(&mut Vec<Value>) -> R + Send + Sync>;

#[cfg(feature = "async")]
type LanguageFn = dyn Fn(Option<&LanguageData>, &mut Vec<Value>) -> Result<Option<Pending>> + Send + Sync;

/// A host function.
#[derive(Clone)]
pub(crate) enum HostFunction {
    /// Leaves its results in the list.
    Plain(ArgsFn<Result<()>>),
    #[cfg(feature = "async")]
    Future(ArgsFn<Pending>),
    /// As a plain one, or it gives a future of its results.
    #[cfg(feature = "async")]
    MayWait(ArgsFn<Result<Option<Pending>>>),
    /// The same of another language, which hears in which sandbox it is called.
    #[cfg(feature = "async")]
    OfLanguage(Arc<LanguageFn>),
    /// Its calls are for whoever has started the run.
    Declared,
}

/// A host function without a name, which is a value.
pub(crate) struct Nameless {
    pub(crate) call: HostFunction,
    pub(crate) origin: Option<Origin>,
}

/// What a function is in the language that it comes from.
pub(crate) struct Origin {
    /// The same for the same one, as long as it is held.
    pub(crate) identity: usize,
    pub(crate) value: Arc<dyn Any + Send + Sync>,
}
