//! Functions of the host, as Lua calls them.

use std::any::Any;
use std::sync::Arc;

use super::{Result, Value};

/// A future that gives a host function's results.
#[cfg(feature = "async")]
pub(crate) type Pending = std::pin::Pin<Box<dyn Future<Output = Result<Vec<Value>>> + Send>>;

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
