//! What scripts may do with objects of the host.

use std::any::TypeId;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, OnceLock};

use crate::util::lock;
use crate::value::{
    CallArgs, ClassParts, Error, FromArgs, FromValue, Function, HostFunction, IntoArgs, Members, Object, Result, Value,
};

/// What scripts may do with objects of type `T`: what was listed, and nothing else.
///
/// Scripts hold such an object as userdata. It is the same one whenever it is passed, and comes back as itself. When Lua
/// has let go of it, it is dropped in the host, within the run. A class is described to a sandbox when it meets an
/// object of it, so make one and keep it.
///
/// Its functions are host functions: the limits and rules of [registered](crate::Sandbox::register) ones hold, and a run
/// that called one is not repeated after a conflict. Since they get `&T` and `T` is shared between threads, what changes
/// needs a `Mutex`, an atomic or the like.
///
/// ```
/// use std::sync::Mutex;
/// use luacell::{Class, Metamethod, Sandbox};
///
/// let counter = Class::<Mutex<i64>>::builder("Counter")
///     .method("add", |n, by: i64| { *n.lock().unwrap() += by; Ok(()) })
///     .reader("value", |n| Ok(*n.lock().unwrap()))
///     .metamethod(Metamethod::Len, |n, ()| Ok(*n.lock().unwrap()))
///     .build();
/// let sandbox = Sandbox::new()?;
/// sandbox.compute("function f(c) c:add(2) return c.value, #c end")?;
/// assert_eq!(sandbox.call("f", counter.object(Mutex::new(40)))?.values, [42.into(), 42.into()]);
/// # Ok::<(), luacell::Error>(())
/// ```
pub struct Class<T> {
    parts: Arc<ClassParts>,
    of: PhantomData<fn(T)>,
}

impl<T> Clone for Class<T> {
    fn clone(&self) -> Self {
        Class { parts: Arc::clone(&self.parts), of: PhantomData }
    }
}

impl<T: Send + Sync + 'static> Class<T> {
    /// A class of this name, which scripts see in messages and `tostring`.
    #[must_use]
    pub fn builder(name: &str) -> ClassBuilder<T> {
        ClassBuilder { parts: ClassParts::new(name), of: PhantomData }
    }

    /// An object that is this value.
    #[must_use]
    pub fn object(&self, value: T) -> Object {
        self.shared_object(Arc::new(value))
    }

    /// An object that is this value. All that are made of the same `Arc` are one object.
    #[must_use]
    pub fn shared_object(&self, value: Arc<T>) -> Object {
        self.object_known_as(Arc::as_ptr(&value).addr(), value)
    }

    /// The value that an object of this class is; `None` for one of another class, also if its value is of the same type.
    #[must_use]
    pub fn get<'a>(&self, object: &'a Object) -> Option<&'a T> {
        own(object, self.parts.number)
    }

    /// As [`shared_object`](Self::shared_object), for languages in which something else than the `Arc` says which objects
    /// are one. It has to hold for as long as the value is there.
    #[doc(hidden)]
    #[must_use]
    pub fn object_known_as(&self, identity: usize, value: Arc<T>) -> Object {
        Object::of_class(&self.parts, identity, value)
    }
}

/// A type whose values scripts can be given.
///
/// ```
/// use luacell::{ClassBuilder, LuaObject, Object, Sandbox};
///
/// struct Point { x: f64, y: f64 }
///
/// impl LuaObject for Point {
///     const NAME: &str = "Point";
///     fn describe(class: ClassBuilder<Self>) -> ClassBuilder<Self> {
///         class.reader("x", |p| Ok(p.x)).reader("y", |p| Ok(p.y))
///     }
/// }
///
/// let sandbox = Sandbox::new()?;
/// sandbox.compute("function f(p) return p.x + p.y end")?;
/// assert_eq!(sandbox.call("f", Object::new(Point { x: 1.0, y: 2.0 }))?.get::<f64>()?, 3.0);
/// # Ok::<(), luacell::Error>(())
/// ```
pub trait LuaObject: Send + Sync + Sized + 'static {
    /// The name of the class.
    const NAME: &str;

    /// Adds what scripts may do with it. Asked once in a process.
    fn describe(class: ClassBuilder<Self>) -> ClassBuilder<Self>;
}

impl Object {
    /// An object that is this value.
    #[must_use]
    pub fn new<T: LuaObject>(value: T) -> Object {
        Object::shared(Arc::new(value))
    }

    /// An object that is this value. All that are made of the same `Arc` are one object.
    #[must_use]
    pub fn shared<T: LuaObject>(value: Arc<T>) -> Object {
        Class { parts: class_of::<T>(), of: PhantomData }.shared_object(value)
    }
}

impl Object {
    /// An iterator, which scripts use as `for a, b in iterator do`: its items are the values of the steps, several at a time
    /// as a tuple. They are made one by one, as the loop wants them, and the iterator is dropped when the loop is left.
    ///
    /// An item whose first value is nil would end the loop; it fails the step with `Conversion`.
    ///
    /// ```
    /// use luacell::{Object, Sandbox};
    ///
    /// let sandbox = Sandbox::new()?;
    /// sandbox.register("numbers", |()| Ok(Object::iterator(1..)))?;
    /// let sum = sandbox.compute("local sum = 0 for n in numbers() do if n > 4 then break end sum = sum + n end return sum")?;
    /// assert_eq!(sum.get::<i64>()?, 10);
    /// # Ok::<(), luacell::Error>(())
    /// ```
    #[must_use]
    pub fn iterator<I: IntoIterator>(items: I) -> Object
    where
        I::IntoIter: Send + 'static,
        I::Item: IntoArgs + 'static,
    {
        let mut items = items.into_iter();
        Object::stepping(move || match items.next().map(IntoArgs::into_args) {
            Some(values) if values.first().is_none_or(Value::is_nil) => Err(Error::conversion(NIL_STEP)),
            step => Ok(step.unwrap_or_default()),
        })
    }

    /// The same, where `next` gives the values of each step, and none or nil first at the end.
    #[must_use]
    pub fn stepping(next: impl FnMut() -> Result<Vec<Value>> + Send + 'static) -> Object {
        Object::new(Steps(Mutex::new(Some(Box::new(next)))))
    }
}

/// An iterator until it has ended.
struct Steps(Mutex<Option<Next>>);

type Next = Box<dyn FnMut() -> Result<Vec<Value>> + Send>;

impl Steps {
    fn next(&self) -> Result<Vec<Value>> {
        // Not held while the iterator works, which may come back here.
        let Some(mut next) = lock(&self.0).take() else { return Ok(Vec::new()) };
        let values = next()?;
        if values.first().is_some_and(|first| !first.is_nil()) {
            *lock(&self.0) = Some(next);
        }
        Ok(values)
    }
}

/// What a loop can't be given.
const NIL_STEP: &str = "an iterator of the host gave nil, which would end the loop";

impl LuaObject for Steps {
    const NAME: &str = "iterator";

    fn describe(class: ClassBuilder<Self>) -> ClassBuilder<Self> {
        class.metamethod(Metamethod::Call, |steps, _: Vec<Value>| steps.next()).metamethod(
            Metamethod::Close,
            |steps, _: Vec<Value>| {
                let items = lock(&steps.0).take();
                drop(items);
                Ok(())
            },
        )
    }
}

fn class_of<T: LuaObject>() -> Arc<ClassParts> {
    static CLASSES: OnceLock<Mutex<HashMap<TypeId, Arc<ClassParts>>>> = OnceLock::new();
    let classes = CLASSES.get_or_init(Mutex::default);
    if let Some(parts) = lock(classes).get(&TypeId::of::<T>()) {
        return Arc::clone(parts);
    }
    // It may need other classes.
    let class = T::describe(Class::builder(T::NAME)).build();
    Arc::clone(lock(classes).entry(TypeId::of::<T>()).or_insert(class.parts))
}

/// Describes a [`Class`]. Of two members with one name the later one counts.
///
/// Functions get the object, and then what Lua passes behind it.
pub struct ClassBuilder<T> {
    parts: ClassParts,
    of: PhantomData<fn(T)>,
}

impl<T: Send + Sync + 'static> ClassBuilder<T> {
    /// `object:name(...)`
    #[must_use]
    pub fn method<A: FromArgs, R: IntoArgs>(
        mut self,
        name: &str,
        function: impl Fn(&T, A) -> Result<R> + Send + Sync + 'static,
    ) -> Self {
        let function = self.function(&format!("method '{name}'"), function);
        add(&mut self.parts.methods, name, function);
        self
    }

    /// `object.name`, read.
    #[must_use]
    pub fn reader<R: IntoArgs>(
        mut self,
        name: &str,
        function: impl Fn(&T) -> Result<R> + Send + Sync + 'static,
    ) -> Self {
        let function = self.function(&format!("field '{name}'"), move |this, ()| function(this));
        add(&mut self.parts.readers, name, function);
        self
    }

    /// `object.name = value`
    #[must_use]
    pub fn writer<V: FromValue>(
        mut self,
        name: &str,
        function: impl Fn(&T, V) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let function = self.function(&format!("field '{name}'"), move |this, (value,)| function(this, value));
        add(&mut self.parts.writers, name, function);
        self
    }

    /// What an operator or the like does with the object. Of an operator with two operands it has to be the first.
    #[must_use]
    pub fn metamethod<A: FromArgs, R: IntoArgs>(
        mut self,
        event: Metamethod,
        function: impl Fn(&T, A) -> Result<R> + Send + Sync + 'static,
    ) -> Self {
        let function = self.function(&format!("metamethod '{}'", event.name()), function);
        add(&mut self.parts.events, event.name(), function);
        self
    }

    /// As [`metamethod`](Self::metamethod), for operators in which the object may be the second operand: the function
    /// gets both, as they stand.
    #[must_use]
    pub fn metafunction<A: FromArgs, R: IntoArgs>(
        mut self,
        event: Metamethod,
        function: impl Fn(A) -> Result<R> + Send + Sync + 'static,
    ) -> Self {
        add(&mut self.parts.events, event.name(), Function::new(function));
        self
    }

    /// The same with the object, which is one of the operands.
    #[must_use]
    pub fn operator<R: IntoArgs>(
        mut self,
        event: Metamethod,
        function: impl Fn(&T, Vec<Value>) -> Result<R> + Send + Sync + 'static,
    ) -> Self {
        let (number, expects) =
            (self.parts.number, no_self(&format!("metamethod '{}'", event.name()), &self.parts.name));
        let call = move |operands: Vec<Value>| {
            let object = operands.iter().filter_map(Value::as_object).find(|object| own::<T>(object, number).is_some());
            let object = object.cloned().ok_or_else(|| Error::conversion(expects.as_str()))?;
            let this = own(&object, number).ok_or_else(|| Error::conversion(expects.as_str()))?;
            function(this, operands)
        };
        add(&mut self.parts.events, event.name(), Function::new(call));
        self
    }

    /// The class.
    #[must_use]
    pub fn build(self) -> Class<T> {
        Class { parts: Arc::new(self.parts), of: PhantomData }
    }

    fn function<A: FromArgs, R: IntoArgs>(
        &self,
        what: &str,
        function: impl Fn(&T, A) -> Result<R> + Send + Sync + 'static,
    ) -> Function {
        let (number, expects) = (self.parts.number, no_self(what, &self.parts.name));
        let call = move |values: &mut Vec<Value>| {
            let object = values.first_mut().map(std::mem::take);
            let this = object.as_ref().and_then(Value::as_object).and_then(|object| own(object, number));
            let this = this.ok_or_else(|| Error::conversion(expects.as_str()))?;
            let args = A::from_args(CallArgs::behind_self(values))?;
            function(this, args)?.push_args(values);
            Ok(())
        };
        Function::of_host(HostFunction::Plain(Arc::new(call)), None)
    }
}

/// What an object of the class with this number is. Another class may offer less of the same type.
fn own<T: 'static>(object: &Object, class: u32) -> Option<&T> {
    if object.0.class.number == class { object.downcast_ref() } else { None }
}

/// The message for a function of a class that is called without an object of it.
pub(super) fn no_self(what: &str, class: &str) -> String {
    format!("the {what} needs a {class} in front, as in object:name()")
}

pub(super) fn add(members: &mut Members, name: &str, function: Function) {
    match members.iter_mut().find(|(known, _)| **known == *name) {
        Some((_, place)) => *place = function,
        None => members.push((name.into(), function)),
    }
}

macro_rules! metamethods {
    ($($(#[$doc:meta])+ $name:ident = $lua:literal,)+) => {
        /// Operators and other events of Lua that an object can take part in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Metamethod {
            $($(#[$doc])+ $name,)+
        }

        impl Metamethod {
            /// Its name in Lua, such as `__add`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Metamethod::$name => $lua,)+
                }
            }

            /// The one of this name in Lua.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Metamethod> {
                match name {
                    $($lua => Some(Metamethod::$name),)+
                    _ => None,
                }
            }
        }
    };
}

metamethods! {
    /// `a + b`
    Add = "__add",
    /// `a - b`
    Sub = "__sub",
    /// `a * b`
    Mul = "__mul",
    /// `a / b`
    Div = "__div",
    /// `a // b`
    FloorDiv = "__idiv",
    /// `a % b`
    Mod = "__mod",
    /// `a ^ b`
    Pow = "__pow",
    /// `-a`
    Neg = "__unm",
    /// `a & b`
    BitAnd = "__band",
    /// `a | b`
    BitOr = "__bor",
    /// `a ~ b`
    BitXor = "__bxor",
    /// `~a`
    BitNot = "__bnot",
    /// `a << b`
    ShiftLeft = "__shl",
    /// `a >> b`
    ShiftRight = "__shr",
    /// `a .. b`
    Concat = "__concat",
    /// `#a`
    Len = "__len",
    /// `a == b`, of two objects that are not the same
    Eq = "__eq",
    /// `a < b`
    Less = "__lt",
    /// `a <= b`
    LessEqual = "__le",
    /// `a(...)`
    Call = "__call",
    /// `a[key]` and `a.key`, where the class has neither a method nor a field of that name
    Index = "__index",
    /// `a[key] = value`, where the class has no such field that can be written
    NewIndex = "__newindex",
    /// `tostring(a)`, `print(a)`
    ToString = "__tostring",
    /// `for ... in a`: gives what is called for the values of each step, for one an [iterator](Object::iterator). It
    /// can't wait.
    Iter = "__iter",
    /// `pairs(a)`
    Pairs = "__pairs",
    /// The end of the block of a `local a <close>`, with the error that ended it or nil
    Close = "__close",
}
