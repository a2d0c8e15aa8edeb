//! Functions and objects of the host as values.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Arc;

use luacell::{Class, Function, Metamethod, Object, Result, Value};

use crate::error::luacell_error;
use crate::guard;
use crate::host_function::{adapter, luacell_host_function};
use crate::pointers::{
    Opaque, Place, Userdata, borrow, callback_result, from_raw, into_raw, invalid, luacell_finalizer, text, view,
};
use crate::status::luacell_status;
use crate::value::{luacell_value, luacell_values};

/// What scripts can do with objects of one kind. May be used by several threads at a time.
pub struct luacell_class {
    _private: (),
}

impl Opaque for luacell_class {
    type Behind = Class<HostObject>;
}

/// What Lua holds.
pub struct HostObject(UserPointer);

/// A function of a class. `userdata` is the member's, `object` the object's own pointer. `args` is what Lua passes behind the
/// object; a writer gets the value. A metamethod gets all operands, of which one is the object. Otherwise it is like a
/// luacell_host_function.
pub type luacell_method = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        object: *mut c_void,
        args: *const luacell_values,
        results: *mut luacell_values,
        error: *mut *mut luacell_error,
    ) -> luacell_status,
>;

/// What a member of a class is.
pub type luacell_member_kind = i32;

/// object:name(...)
pub const LUACELL_METHOD: luacell_member_kind = 0;
/// object.name, read; gives one result.
pub const LUACELL_READER: luacell_member_kind = 1;
/// object.name = value
pub const LUACELL_WRITER: luacell_member_kind = 2;
/// What Lua calls for an operator and the like, by its name in Lua: "__add", "__len", "__call", "__tostring", "__iter" ...
pub const LUACELL_METAMETHOD: luacell_member_kind = 3;

/// A member of a class.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct luacell_member {
    /// LUACELL_METHOD ...
    pub kind: luacell_member_kind,
    /// Its name, which ends with a zero. Only looked at while the class is made.
    pub name: *const c_char,
    /// What it does.
    pub function: luacell_method,
    /// Passed to the function; has to last as long as the class's own.
    pub userdata: *mut c_void,
}

/// A function of the host as a value: an argument, a result, or anything in a table. Lua calls it like one that is
/// registered. Clones of the value are the same function in Lua, which gives them back as equal ones. The finalizer runs
/// when neither the caller nor Lua holds the function any more. NULL if `function` is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_value_new_function(
    function: luacell_host_function,
    userdata: *mut c_void,
    finalizer: luacell_finalizer,
) -> *mut luacell_value {
    let userdata = Userdata::new(userdata, finalizer);
    guard::plain(std::ptr::null_mut(), || match adapter(function, userdata) {
        Ok(call) => into_raw(Function::new(call).into()),
        Err(_) => std::ptr::null_mut(),
    })
}

/// An iterator as a value, for loops: `for a, b in iterator do`. `next` is called for each step, without arguments. Its
/// results are the step's values; none, or nil, ends the loop. The finalizer runs when the loop is left, however that
/// happens, or when nobody holds the iterator any more. NULL if `next` is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_value_new_iterator(
    next: luacell_host_function,
    userdata: *mut c_void,
    finalizer: luacell_finalizer,
) -> *mut luacell_value {
    let userdata = Userdata::new(userdata, finalizer);
    guard::plain(std::ptr::null_mut(), || match adapter(next, userdata) {
        Ok(next) => into_raw(Object::stepping(move || next(Vec::new())).into()),
        Err(_) => std::ptr::null_mut(),
    })
}

/// Makes a class. Scripts can do with its objects what is listed, and nothing else. `name` is shown in messages. The finalizer
/// gets `userdata` when nobody needs the class and its members any more, and if this call fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_class_new(
    name: *const c_char,
    name_len: usize,
    members: *const luacell_member,
    members_len: usize,
    userdata: *mut c_void,
    finalizer: luacell_finalizer,
    class: *mut *mut luacell_class,
    error: *mut *mut luacell_error,
) -> luacell_status {
    let userdata = Arc::new(Userdata::new(userdata, finalizer));
    guard::status(error, || {
        let place = Place::new(class, "class")?;
        let members = match members.is_null() {
            true if members_len > 0 => return Err(invalid("members is NULL")),
            true => &[],
            false => std::slice::from_raw_parts(members, members_len),
        };
        let mut builder = Class::builder(text(name, name_len, "name")?);
        for member in members {
            if member.name.is_null() {
                return Err(invalid("the name of a member is NULL"));
            }
            let name =
                CStr::from_ptr(member.name).to_str().map_err(|_| invalid("the name of a member is not UTF-8"))?;
            let Some(function) = member.function else {
                return Err(invalid(format!("the function of the member '{name}' is NULL")));
            };
            let userdata = UserPointer { pointer: member.userdata, _userdata: Arc::clone(&userdata) };
            let call = move |object: &HostObject, args: Vec<Value>| {
                let mut results: Vec<Value> = Vec::new();
                callback_result("the host function", |error| {
                    let (args, results) = (view::<luacell_values>(&args), (&raw mut results).cast());
                    // SAFETY: the header demands that the function can be called so.
                    unsafe { function(userdata.get(), object.0.get(), args, results, error) }
                })?;
                Ok(results)
            };
            builder = match member.kind {
                LUACELL_METHOD => builder.method(name, call),
                LUACELL_READER => builder.reader(name, move |object| one(call(object, Vec::new())?)),
                LUACELL_WRITER => builder.writer(name, move |object, value: Value| call(object, vec![value]).map(drop)),
                LUACELL_METAMETHOD => {
                    let event = Metamethod::from_name(name)
                        .ok_or_else(|| invalid(format!("'{name}' is no metamethod that a class can have")))?;
                    builder.operator(event, call)
                }
                kind => return Err(invalid(format!("{kind} is no kind of member"))),
            };
        }
        place.give(builder.build());
        Ok(())
    })
}

/// A pointer that lasts as long as some userdata does.
struct UserPointer {
    pointer: *mut c_void,
    _userdata: Arc<Userdata>,
}

// SAFETY: the header demands the same of it as of the userdata.
unsafe impl Send for UserPointer {}
unsafe impl Sync for UserPointer {}

impl UserPointer {
    fn get(&self) -> *mut c_void {
        self.pointer
    }
}

/// A field has one value.
fn one(values: Vec<Value>) -> Result<Value> {
    Ok(values.into_iter().next().unwrap_or_default())
}

/// Ends the caller's hold of a class. Its objects stay as they are. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_class_free(class: *mut luacell_class) {
    guard::plain((), || drop(from_raw(class)));
}

/// An object as a value. Members get `object`. In Lua, all that are made of one pointer with one class are the same object.
/// The finalizer gets `userdata`, often `object` again, when neither the caller nor Lua holds this value any more. NULL if
/// `class` is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_value_new_object(
    class: *const luacell_class,
    object: *mut c_void,
    userdata: *mut c_void,
    finalizer: luacell_finalizer,
) -> *mut luacell_value {
    let userdata = Arc::new(Userdata::new(userdata, finalizer));
    guard::plain(std::ptr::null_mut(), || {
        let Ok(class) = borrow(class, "class") else { return std::ptr::null_mut() };
        let pointer = UserPointer { pointer: object, _userdata: userdata };
        into_raw(class.object_known_as(object.addr(), Arc::new(HostObject(pointer))).into())
    })
}

/// The pointer that the object was made of, if the value is an object of this class; otherwise NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_value_object(value: *const luacell_value, class: *const luacell_class) -> *mut c_void {
    let (Ok(Value::Object(object)), Ok(class)) = (borrow(value, "value"), borrow(class, "class")) else {
        return std::ptr::null_mut();
    };
    class.get(object).map_or(std::ptr::null_mut(), |object| object.0.get())
}
