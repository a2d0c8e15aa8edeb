//! For bindings: functions of their language as values.

use std::any::Any;
use std::sync::Arc;

use super::Sandbox;
use crate::value::host_values::HostValue;
use crate::value::{Function, FunctionKind, LanguageData, Nameless, Origin};
#[cfg(feature = "async")]
use crate::value::{HostFunction, Result, Value};

impl Function {
    /// A function that is `value` in its language. Those of the same identity are one function in Lua; it has to hold for
    /// as long as the value is there. `call` gets what the calling sandbox is [known by](Sandbox::set_language_data).
    #[cfg(feature = "async")]
    #[must_use]
    pub fn of_language(
        identity: usize,
        value: Arc<dyn Any + Send + Sync>,
        call: impl Fn(Option<&LanguageData>, Vec<Value>) -> Result<super::Reply> + Send + Sync + 'static,
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
