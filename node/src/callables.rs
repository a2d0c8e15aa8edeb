//! JavaScript's functions and objects that Lua holds as values.
//!
//! They can't be dropped on any thread, so JavaScript keeps them, by number, and this side only has the numbers. A
//! number that nobody has any more is told to JavaScript: when it asks, and else with a note.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use luacell::{Error, Function, LanguageData, Object, Reply, Value};

use crate::bridge::{Bridge, Caller, Topic};
use crate::value::ToJs;

/// Those of one JavaScript environment.
#[derive(Default)]
pub(crate) struct Callables(Mutex<List>);

#[derive(Default)]
struct List {
    /// There is one value of each, so that equal functions are the same.
    known: HashMap<u32, Weak<Callable>>,
    /// Those whose value was dropped. There may be a new one already.
    dropped: Vec<u32>,
    /// Whether a note is on its way.
    is_noted: bool,
}

/// A function or object that Lua was given.
pub(crate) struct Callable {
    pub(crate) number: u32,
    /// Of an object.
    pub(crate) class: Option<u32>,
    bridge: Arc<Bridge>,
}

impl Callables {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of the numbers that were dropped, and of `others`, stand for nothing here. On JavaScript's thread, while
    /// it has sent no number that was not read.
    pub(crate) fn unheld(&self, others: Vec<u32>, is_note: bool) -> Vec<u32> {
        let mut list = self.lock();
        if is_note {
            list.is_noted = false;
        }
        let mut numbers = std::mem::take(&mut list.dropped);
        numbers.extend(others);
        numbers.retain(|number| list.known.get(number).is_none_or(|value| value.strong_count() == 0));
        numbers
    }
}

impl Drop for Callable {
    fn drop(&mut self) {
        let mut list = self.bridge.callables.lock();
        if list.known.get(&self.number).is_some_and(|value| value.strong_count() == 0) {
            list.known.remove(&self.number);
        }
        list.dropped.push(self.number);
        let is_first = !std::mem::replace(&mut list.is_noted, true);
        drop(list);
        if is_first {
            self.bridge.send(Topic::Dropped, 0, 0, 0, ToJs::Nothing);
        }
    }
}

fn callable(bridge: &Arc<Bridge>, number: u32, class: Option<u32>) -> Arc<Callable> {
    let mut list = bridge.callables.lock();
    if let Some(known) = list.known.get(&number).and_then(Weak::upgrade) {
        return known;
    }
    let new = Arc::new(Callable { number, class, bridge: Arc::clone(bridge) });
    list.known.insert(number, Arc::downgrade(&new));
    new
}

/// The sandbox that calls.
pub(crate) fn caller(data: Option<&LanguageData>) -> Result<Arc<Caller>, Error> {
    let caller = data.and_then(|data| Arc::clone(data).downcast().ok());
    caller.ok_or_else(|| Error::host("the sandbox does not know JavaScript"))
}

/// What Lua gets for the function that JavaScript knows by this number, the same each time.
pub(crate) fn to_lua(bridge: &Arc<Bridge>, number: u32) -> Function {
    let callable = callable(bridge, number, None);
    let called = Arc::clone(&callable);
    let call = move |data: Option<&LanguageData>, args: Vec<Value>| {
        let caller = caller(data)?;
        let (called, answer) = (Arc::clone(&called), caller.call(called.number, args));
        Ok(Reply::Later(Box::pin(async move {
            let results = answer.await;
            // Lua may have let go of it meanwhile.
            drop(called);
            results
        })))
    };
    Function::of_language(Arc::as_ptr(&callable).addr(), callable, call)
}

/// The number by which JavaScript knows a function that is its own.
pub(crate) fn number(function: &Function) -> Option<u32> {
    function.language_value()?.downcast_ref().map(|callable: &Callable| callable.number)
}

/// What Lua gets for the object that JavaScript knows by this number, the same each time; `None` if it has not described
/// the class.
pub(crate) fn object_to_lua(bridge: &Arc<Bridge>, number: u32, class: u32) -> Option<Object> {
    let description = bridge.class(class)?;
    let callable = callable(bridge, number, Some(class));
    Some(description.object(Arc::as_ptr(&callable).addr(), callable))
}

/// An object that is JavaScript's own.
pub(crate) fn own_object(object: &Object) -> Option<&Callable> {
    object.language_value().downcast_ref()
}
