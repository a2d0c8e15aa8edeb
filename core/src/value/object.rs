//! Objects of the host as values.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Error, FromValue, Function, Result, Value};

/// An object of the host, which Lua holds as userdata. Scripts can do with it what its class [allows](crate::Class),
/// and nothing else.
///
/// A clone is the same object. Lua gives it back as one that is equal to it.
#[derive(Clone)]
pub struct Object(pub(crate) Arc<HostObject>);

pub(crate) struct HostObject {
    pub(crate) class: Arc<ClassParts>,
    /// The same for the same one, as long as it is held.
    pub(crate) identity: usize,
    pub(crate) value: Arc<dyn Any + Send + Sync>,
}

/// What scripts may do with objects of one kind.
pub(crate) struct ClassParts {
    /// No other class of the process has it.
    pub(crate) number: u32,
    pub(crate) name: Box<str>,
    pub(crate) methods: Members,
    pub(crate) readers: Members,
    pub(crate) writers: Members,
    pub(crate) events: Members,
}

/// Functions by name, which get the object first.
pub(crate) type Members = Vec<(Box<str>, Function)>;

impl ClassParts {
    pub(crate) fn new(name: &str) -> Self {
        static NUMBERS: AtomicU32 = AtomicU32::new(1);
        ClassParts {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            name: name.into(),
            methods: Vec::new(),
            readers: Vec::new(),
            writers: Vec::new(),
            events: Vec::new(),
        }
    }
}

impl Object {
    pub(crate) fn of_class(class: &Arc<ClassParts>, identity: usize, value: Arc<dyn Any + Send + Sync>) -> Object {
        Object(Arc::new(HostObject { class: Arc::clone(class), identity, value }))
    }

    /// The name of its class.
    #[must_use]
    pub fn class_name(&self) -> &str {
        &self.0.class.name
    }

    /// What it is in the host, if it is of this type.
    #[must_use]
    pub fn downcast_ref<T: Any>(&self) -> Option<&T> {
        self.0.value.downcast_ref()
    }

    /// By what it is known: the same value, with the same class.
    pub(crate) fn identity(&self) -> (usize, u32) {
        (self.0.identity, self.0.class.number)
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Object {}

impl Hash for Object {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object: {}", self.0.class.name)
    }
}

/// What an [`Object`] is in the host: for host functions that take one as an argument.
///
/// ```
/// use luacell::{Class, ObjectRef, Sandbox};
///
/// struct Account(u32);
///
/// let sandbox = Sandbox::new()?;
/// sandbox.register("number_of", |account: ObjectRef<Account>| Ok(account.0))?;
/// sandbox.compute("function f(account) return number_of(account) end")?;
/// let account = Class::builder("Account").build().object(Account(7));
/// assert_eq!(sandbox.call("f", account)?.get::<i64>()?, 7);
/// # Ok::<(), luacell::Error>(())
/// ```
pub struct ObjectRef<T>(Arc<T>);

impl<T> ObjectRef<T> {
    /// The value itself.
    #[must_use]
    pub fn into_inner(self) -> Arc<T> {
        self.0
    }
}

impl<T> Deref for ObjectRef<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Any + Send + Sync> FromValue for ObjectRef<T> {
    fn from_value(value: Value) -> Result<Self> {
        let Value::Object(object) = &value else {
            return Err(Error::conversion(format!("expected an object, got {}", value.type_name())));
        };
        match Arc::clone(&object.0.value).downcast() {
            Ok(value) => Ok(ObjectRef(value)),
            Err(_) => Err(Error::conversion(format!("expected another object than a {}", object.class_name()))),
        }
    }
}
