//! Sandboxes that run a host function on this thread: those the function may use, although they are in use.

#![allow(
    unsafe_code,
    reason = "in what the macro of scoped-tls-hkt expands to, which shortens lifetimes for the time of a call"
)]

use std::sync::Arc;

use crate::instance::Context;
use crate::sandbox::Shared;
use scoped_tls_hkt::{ReborrowMut, scoped_thread_local};

/// A sandbox in the middle of a host function.
trait Running {
    fn sandbox(&self) -> *const Shared;
    /// The sandbox, and the one whose host function led to this one.
    fn split(&mut self) -> (Context<'_>, Option<&mut dyn Running>);
}

struct Active<'a> {
    sandbox: *const Shared,
    context: Context<'a>,
    outer: Option<&'a mut dyn Running>,
}

impl Running for Active<'_> {
    fn sandbox(&self) -> *const Shared {
        self.sandbox
    }

    fn split(&mut self) -> (Context<'_>, Option<&mut dyn Running>) {
        let outer: Option<&mut dyn Running> = match &mut self.outer {
            Some(outer) => Some(&mut **outer),
            None => None,
        };
        (self.context.reborrow(), outer)
    }
}

struct Innermost<'a>(&'a mut (dyn Running + 'a));

impl<'a, 'b: 'a> ReborrowMut<'a> for Innermost<'b> {
    type Result = Innermost<'a>;
    fn reborrow_mut(&'a mut self) -> Innermost<'a> {
        Innermost(&mut *self.0)
    }
}

scoped_thread_local!(static mut INNERMOST: for<'a> Innermost<'a>);

/// Runs `f`, during which this thread may come back into the sandbox.
#[inline]
pub(crate) fn during<R>(context: &mut Context<'_>, sandbox: *const Shared, f: impl FnOnce() -> R) -> R {
    let context = context.reborrow();
    if !INNERMOST.is_set() {
        let mut active = Active { sandbox, context, outer: None };
        return INNERMOST.set(Innermost(&mut active), f);
    }
    INNERMOST.with(|Innermost(outer)| {
        let mut active = Active { sandbox, context, outer: Some(outer) };
        INNERMOST.set(Innermost(&mut active), f)
    })
}

/// Goes outwards from `next`. When the sandbox is found, `f` gets it, and all others stay within reach: they were put into `passed`.
fn search<R>(
    next: Option<&mut dyn Running>,
    sandbox: *const Shared,
    found: Option<Context<'_>>,
    passed: Option<&mut dyn Running>,
    f: impl FnOnce(Context<'_>) -> R,
) -> Option<R> {
    let Some(running) = next else {
        let context = found?;
        return Some(match passed {
            Some(passed) => INNERMOST.set(Innermost(passed), || f(context)),
            None => f(context),
        });
    };
    let this = running.sandbox();
    let (context, outer) = running.split();
    if this == sandbox {
        return search(outer, sandbox, Some(context), passed, f);
    }
    // The lifetime behind a reference shortens where the reference itself is at hand, not inside an option.
    let outer_passed = passed.map(|passed| -> &mut dyn Running { passed });
    let mut passed = Active { sandbox: this, context, outer: outer_passed };
    search(outer, sandbox, found, Some(&mut passed), f)
}

/// Hands the sandbox to `f` when it runs a host function on this thread.
pub(crate) fn find<R>(sandbox: &Arc<Shared>, f: impl FnOnce(Context<'_>) -> R) -> Option<R> {
    if !INNERMOST.is_set() {
        return None;
    }
    INNERMOST.with(|Innermost(running)| search(Some(running), Arc::as_ptr(sandbox), None, None, f))
}

/// Whether this thread is in a host function that the sandbox called.
#[cold]
pub(crate) fn is_within(sandbox: *const Shared) -> bool {
    fn search(running: &mut dyn Running, sandbox: *const Shared) -> bool {
        let here = running.sandbox() == sandbox;
        here || running.split().1.is_some_and(|outer| search(outer, sandbox))
    }
    INNERMOST.is_set() && INNERMOST.with(|Innermost(running)| search(running, sandbox))
}
