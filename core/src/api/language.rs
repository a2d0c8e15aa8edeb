//! For bindings: functions and objects of their language as values.

use std::any::Any;
use std::sync::Arc;

use super::Sandbox;
use crate::value::host_values::HostValue;
use crate::value::{Function, FunctionKind, LanguageData, Nameless, Object};
#[cfg(feature = "async")]
use {
    super::Reply,
    super::class::{add, no_self},
    crate::value::{ClassParts, Error, HostFunction, Origin, Result, Value},
};

impl Function {
    /// A function that is `value` in its language. Those of the same identity are one function in Lua; it has to hold for
    /// as long as the value is there. `call` gets what the calling sandbox is [known by](Sandbox::set_language_data).
    #[cfg(feature = "async")]
    #[must_use]
    pub fn of_language(
        identity: usize,
        value: Arc<dyn Any + Send + Sync>,
        call: impl Fn(Option<&LanguageData>, Vec<Value>) -> Result<Reply> + Send + Sync + 'static,
    ) -> Function {
        let call = move |data: Option<&LanguageData>, values: &mut Vec<Value>| {
            Ok(call(data, std::mem::take(values))?.into_pending(values))
        };
        Function::of_host(HostFunction::OfLanguage(Arc::new(call)), Some(Origin { identity, value }))
    }

    /// The `value` that it is in its language.
    #[must_use]
    pub fn language_value(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        match &*self.0 {
            FunctionKind::Host(Nameless { origin: Some(origin), .. }) => Some(&origin.value),
            _ => None,
        }
    }
}

/// What a member of a class is: see [`ClassBuilder`](crate::ClassBuilder).
#[cfg(feature = "async")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// `object:name(...)`
    Method,
    /// `object.name`, read.
    Reader,
    /// `object.name = value`
    Writer,
    /// A [`Metamethod`](crate::Metamethod), by its name in Lua. The object may be the second argument.
    Event,
}

/// A function of a class: it gets what the calling sandbox is known by, the object and the arguments.
#[cfg(feature = "async")]
pub type MemberFn = Box<dyn Fn(Option<&LanguageData>, Vec<Value>) -> Result<Reply> + Send + Sync>;

/// What scripts may do with some objects of a language.
#[cfg(feature = "async")]
#[derive(Clone)]
pub struct LanguageClass(Arc<ClassParts>);

#[cfg(feature = "async")]
impl LanguageClass {
    /// A class with these members. They are called with an object of the class, never with another one.
    #[must_use]
    pub fn new(name: &str, members: Vec<(Member, String, MemberFn)>) -> Self {
        let mut parts = ClassParts::new(name);
        let number = parts.number;
        for (member, name, call) in members {
            let (list, what) = match member {
                Member::Method => (&mut parts.methods, "method"),
                Member::Reader => (&mut parts.readers, "field"),
                Member::Writer => (&mut parts.writers, "field"),
                Member::Event => (&mut parts.events, "metamethod"),
            };
            let expects = no_self(&format!("{what} '{name}'"), &parts.name);
            let places = if member == Member::Event { 2 } else { 1 };
            let call = move |data: Option<&LanguageData>, values: &mut Vec<Value>| {
                let is_own = |value: &Value| value.as_object().is_some_and(|object| object.0.class.number == number);
                if !values.iter().take(places).any(is_own) {
                    return Err(Error::conversion(expects.as_str()));
                }
                Ok(call(data, std::mem::take(values))?.into_pending(values))
            };
            add(list, &name, Function::of_host(HostFunction::OfLanguage(Arc::new(call)), None));
        }
        LanguageClass(Arc::new(parts))
    }

    /// The object that is `value` in its language. Those of the same identity are one object in Lua; it has to hold for
    /// as long as the value is there.
    #[must_use]
    pub fn object(&self, identity: usize, value: Arc<dyn Any + Send + Sync>) -> Object {
        Object::of_class(&self.0, identity, value)
    }
}

impl Object {
    /// The `value` that it is in its language.
    #[must_use]
    pub fn language_value(&self) -> &Arc<dyn Any + Send + Sync> {
        &self.0.value
    }
}

impl Sandbox {
    /// Says once by what the binding knows this sandbox.
    pub fn set_language_data(&self, data: LanguageData) {
        let _ = self.cell.held.language.set(data);
    }

    /// Shows the language's values of all that Lua holds and nobody else does, for a garbage collector. It is
    /// shown none while somebody is at work with them.
    pub fn visit_language_values(&self, visit: &mut dyn FnMut(&(dyn Any + Send + Sync))) {
        self.cell.held.host_values.visit(&mut |value| {
            let (holders, value) = match value {
                HostValue::Function(function) => (Arc::strong_count(&function.0), function.language_value()),
                HostValue::Object(object) => (Arc::strong_count(&object.0), Some(&object.0.value)),
            };
            if holders == 1
                && let Some(value) = value
                && Arc::strong_count(value) == 1
            {
                visit(&**value);
            }
        });
    }

    /// What Lua holds of the host is gone, for a garbage collector.
    pub fn forget_language_values(&self) {
        self.cell.held.host_values.begin(false);
    }
}
