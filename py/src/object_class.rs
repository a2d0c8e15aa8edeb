//! What scripts may do with objects of Python.

use std::sync::Arc;

use luacell::{Error, LanguageClass, LanguageData, Member, MemberFn, Reply, Value};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::callable::{Held, callbacks_of};
use crate::callbacks::finalizing;
use crate::to_lua;

/// A class for the objects that Lua is given: made by luacell.expose and luacell.wrap.
#[pyclass(frozen, module = "luacell", name = "_ObjectClass")]
pub struct ObjectClass(LanguageClass);

#[pymethods]
impl ObjectClass {
    /// `members`: what each is, its name in Lua, and its name in Python or what is called.
    #[new]
    fn new(name: &str, members: Vec<(Kind, String, Py<PyAny>)>) -> Self {
        let members = members.into_iter().map(|(kind, name, called)| (kind.member(), name, kind.function(called)));
        ObjectClass(LanguageClass::new(name, members.collect()))
    }
}

impl ObjectClass {
    /// What Lua gets for this object.
    pub fn object(&self, object: &Bound<'_, PyAny>) -> luacell::Object {
        self.0.object(object.as_ptr().addr(), Arc::new(Held(object.clone().unbind())))
    }
}

/// What a member does in Python.
#[derive(Clone, Copy)]
enum Kind {
    /// Calls the object's attribute of this name.
    Method,
    /// Reads it.
    Reader,
    /// Writes it.
    Writer,
    /// Calls this, for one result.
    Operator,
    /// Calls this, for any number of results.
    Call,
}

impl FromPyObject<'_, '_> for Kind {
    type Error = PyErr;

    fn extract(kind: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        match kind.extract()? {
            "method" => Ok(Kind::Method),
            "reader" => Ok(Kind::Reader),
            "writer" => Ok(Kind::Writer),
            "operator" => Ok(Kind::Operator),
            "call" => Ok(Kind::Call),
            other => Err(pyo3::exceptions::PyValueError::new_err(format!("no kind of member: {other}"))),
        }
    }
}

impl Kind {
    fn member(self) -> Member {
        match self {
            Kind::Method => Member::Method,
            Kind::Reader => Member::Reader,
            Kind::Writer => Member::Writer,
            Kind::Operator | Kind::Call => Member::Event,
        }
    }

    fn function(self, called: Py<PyAny>) -> MemberFn {
        Box::new(move |data: Option<&LanguageData>, args: Vec<Value>| {
            let Some(callbacks) = callbacks_of(data) else {
                return Err(Error::host("the sandbox is gone"));
            };
            let call = |py: Python<'_>| -> luacell::Result<Reply> {
                let called = called.bind(py);
                let call = |args| self.call(called, &args);
                match self {
                    Kind::Method | Kind::Call => callbacks.call_for(py, &args, to_lua::results, call),
                    _ => callbacks.call_for(py, &args, |result| Ok(vec![to_lua::one(result)?]), call),
                }
            };
            Python::try_attach(call).unwrap_or_else(|| Err(finalizing()))
        })
    }

    fn call<'py>(self, called: &Bound<'py, PyAny>, args: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Kind::Operator | Kind::Call => called.call1(args),
            Kind::Method => {
                let method = args.get_item(0)?.getattr(called.cast::<PyString>()?)?;
                method.call1(args.get_slice(1, args.len()))
            }
            Kind::Reader => args.get_item(0)?.getattr(called.cast::<PyString>()?),
            Kind::Writer => {
                args.get_item(0)?.setattr(called.cast::<PyString>()?, args.get_item(1)?)?;
                Ok(args.py().None().into_bound(args.py()))
            }
        }
    }
}
