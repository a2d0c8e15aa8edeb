//! The hot calls: what is called most often, as functions that are given the slot of the sandbox. As methods they would
//! cost 200 ns more a call, for finding and guarding the instance behind a JavaScript object.

use std::cell::RefCell;
use std::sync::Arc;

use luacell::wire::{self, Handles as _};
use luacell::{Error, ErrorKind, Value};
use napi_derive::napi;

use crate::config::RunSettings;
use crate::sandbox::{Inner, Source, bytes};
use crate::slots::Slots;
use crate::value::{FromJs, ToJs};

thread_local! {
    /// The sandboxes of this thread's JavaScript.
    static SANDBOXES: RefCell<Slots<Arc<Inner>>> = const { RefCell::new(Slots::new()) };
}

/// From now on the sandbox is found in the slot that this returns.
pub(crate) fn add(inner: &Arc<Inner>) -> u32 {
    SANDBOXES.with_borrow_mut(|sandboxes| sandboxes.keep(Arc::clone(inner)))
}

pub(crate) fn remove(slot: u32) {
    // Dropped outside: that may call back.
    let _inner = SANDBOXES.with_borrow_mut(|sandboxes| sandboxes.give_up(slot));
}

fn with(slot: u32, run: impl FnOnce(&Inner) -> ToJs) -> ToJs {
    match SANDBOXES.with_borrow(|sandboxes| sandboxes.get(slot)) {
        Some(inner) => {
            let out = run(&inner);
            inner.weigh();
            out
        }
        None => ToJs::Nothing, // it lives as long as the object that knows its slot
    }
}

/// Runs text.
pub(crate) fn compute(sandbox: u32, source: &[u8]) -> ToJs {
    with(sandbox, |inner| inner.out(inner.sandbox.compute(source)))
}

/// Runs source with arguments; with `full`, output and metrics are wanted too.
#[napi(ts_return_type = "unknown")]
pub fn compute_with(
    sandbox: u32,
    source: Source<'_>,
    args: Option<&[u8]>,
    linked: bool,
    settings: Option<RunSettings>,
    full: bool,
) -> ToJs {
    with(sandbox, |inner| {
        let options = inner.options(args, linked, settings);
        inner.run(options.and_then(|options| inner.sandbox.compute_with(bytes(&source), options)), full)
    })
}

/// Calls a global function.
#[napi(ts_return_type = "unknown")]
pub fn call(
    sandbox: u32,
    path: String,
    args: Option<&[u8]>,
    linked: bool,
    settings: Option<RunSettings>,
    full: bool,
) -> ToJs {
    with(sandbox, |inner| {
        let options = inner.options(args, linked, settings);
        inner.run(options.and_then(|options| inner.sandbox.call_with(&path, options)), full)
    })
}

/// Calls a function that JavaScript holds.
#[napi(ts_return_type = "unknown")]
pub fn call_function(sandbox: u32, number: u32, args: Option<&[u8]>) -> ToJs {
    with(sandbox, |inner| {
        let args = args.map_or_else(|| Ok(Vec::new()), |args| wire::decode(args, &*inner.handles));
        inner.out(args.and_then(|args| match inner.handles.function(number) {
            Some(function) => function.call(args),
            None => Err(Error::new(ErrorKind::Closed, "the function is gone")),
        }))
    })
}

/// The value under a key.
#[napi(ts_return_type = "unknown")]
pub fn table_get(sandbox: u32, table: u32, #[napi(ts_arg_type = "unknown")] key: FromJs) -> ToJs {
    with(sandbox, |inner| inner.one(key.value(&inner.handles).and_then(|key| inner.table(table)?.get(key))))
}

/// Sets the value under a key.
#[napi(ts_return_type = "unknown")]
pub fn table_set(
    sandbox: u32,
    table: u32,
    #[napi(ts_arg_type = "unknown")] key: FromJs,
    #[napi(ts_arg_type = "unknown")] value: FromJs,
) -> ToJs {
    with(sandbox, |inner| {
        inner.done(key.value(&inner.handles).and_then(|key| {
            let value = value.value(&inner.handles)?;
            inner.table(table)?.set(key, value)
        }))
    })
}

/// Removes a key; whether it was there.
#[napi(ts_return_type = "unknown")]
pub fn table_delete(sandbox: u32, table: u32, #[napi(ts_arg_type = "unknown")] key: FromJs) -> ToJs {
    with(sandbox, |inner| {
        let result = key.value(&inner.handles).and_then(|key| inner.table(table)?.remove(key));
        inner.one(result.map(Value::from))
    })
}
