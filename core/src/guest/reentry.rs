//! Sandboxes that run a host function on this thread: the function may use them, although they are in use.

#![allow(
    unsafe_code,
    reason = "in what the macro of scoped-tls-hkt expands to, which shortens lifetimes for the time of a call"
)]

use std::sync::Arc;

use scoped_tls_hkt::{ReborrowMut, scoped_thread_local};

use super::GuestMut;
use crate::value::Owner;

/// A sandbox in the middle of a host function.
trait Calling {
    /// Where its owner is, which tells it from others.
    fn sandbox(&self) -> *const ();
    /// The sandbox, and the one whose host function led to this one.
    fn split(&mut self) -> (GuestMut<'_>, Option<&mut dyn Calling>);
}

struct HostCall<'a> {
    sandbox: *const (),
    guest: GuestMut<'a>,
    outer: Option<&'a mut dyn Calling>,
}

impl Calling for HostCall<'_> {
    fn sandbox(&self) -> *const () {
        self.sandbox
    }

    fn split(&mut self) -> (GuestMut<'_>, Option<&mut dyn Calling>) {
        let outer: Option<&mut dyn Calling> = match &mut self.outer {
            Some(outer) => Some(&mut **outer),
            None => None,
        };
        (self.guest.reborrow(), outer)
    }
}

struct Innermost<'a>(&'a mut (dyn Calling + 'a));

impl<'a, 'b: 'a> ReborrowMut<'a> for Innermost<'b> {
    type Result = Innermost<'a>;
    fn reborrow_mut(&'a mut self) -> Innermost<'a> {
        Innermost(&mut *self.0)
    }
}

scoped_thread_local!(static mut INNERMOST: for<'a> Innermost<'a>);

/// Runs `f`, during which this thread may come back into the sandbox.
#[inline]
pub(crate) fn while_in_host_function<R>(guest: &mut GuestMut<'_>, sandbox: *const (), f: impl FnOnce() -> R) -> R {
    let guest = guest.reborrow();
    if !INNERMOST.is_set() {
        let mut active = HostCall { sandbox, guest, outer: None };
        return INNERMOST.set(Innermost(&mut active), f);
    }
    INNERMOST.with(|Innermost(outer)| {
        let mut active = HostCall { sandbox, guest, outer: Some(outer) };
        INNERMOST.set(Innermost(&mut active), f)
    })
}

/// Goes outwards from `next`. When the sandbox is found, `f` gets it, and all others stay within reach: they were put
/// into `passed`.
fn search<R>(
    next: Option<&mut dyn Calling>,
    sandbox: *const (),
    found: Option<GuestMut<'_>>,
    passed: Option<&mut dyn Calling>,
    f: impl FnOnce(GuestMut<'_>) -> R,
) -> Option<R> {
    let Some(call) = next else {
        let guest = found?;
        return Some(match passed {
            Some(passed) => INNERMOST.set(Innermost(passed), || f(guest)),
            None => f(guest),
        });
    };
    let this = call.sandbox();
    let (guest, outer) = call.split();
    if this == sandbox {
        return search(outer, sandbox, Some(guest), passed, f);
    }
    // The lifetime behind a reference shortens where the reference itself is at hand, not inside an option.
    let outer_passed = passed.map(|passed| -> &mut dyn Calling { passed });
    let mut passed = HostCall { sandbox: this, guest, outer: outer_passed };
    search(outer, sandbox, found, Some(&mut passed), f)
}

/// Hands the sandbox to `f` when it runs a host function on this thread.
pub(crate) fn find<R>(sandbox: *const (), f: impl FnOnce(GuestMut<'_>) -> R) -> Option<R> {
    if !INNERMOST.is_set() {
        return None;
    }
    INNERMOST.with(|Innermost(call)| search(Some(call), sandbox, None, None, f))
}

/// The sandbox whose host function this thread runs.
pub(crate) fn caller() -> Option<Arc<dyn Owner>> {
    if !INNERMOST.is_set() {
        return None;
    }
    INNERMOST.with(|Innermost(call)| {
        let (mut guest, _) = call.split();
        guest.host().run.resolver.as_ref().map(|resolver| Arc::clone(resolver.owner()))
    })
}

/// Whether this thread is in a host function that the sandbox called.
#[cold]
pub(crate) fn is_within(sandbox: *const ()) -> bool {
    fn search(call: &mut dyn Calling, sandbox: *const ()) -> bool {
        let here = call.sandbox() == sandbox;
        here || call.split().1.is_some_and(|outer| search(outer, sandbox))
    }
    INNERMOST.is_set() && INNERMOST.with(|Innermost(call)| search(call, sandbox))
}
