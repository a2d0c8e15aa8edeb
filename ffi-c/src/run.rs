//! Runs that wait for whoever started them.

use std::ffi::c_char;

use luacell::{ComputeOptions, Error, ErrorKind, Outcome, PendingRun, Request, Result, Run, Sandbox};

use crate::config::{compute_options, luacell_compute_options};
use crate::error::luacell_error;
use crate::guard;
use crate::outcome::luacell_outcome;
use crate::pointers::{Opaque, Place, borrow, borrow_mut, bytes, from_raw, invalid, luacell_bytes, text, view};
use crate::sandbox::{luacell_sandbox, with};
use crate::status::luacell_status;
use crate::value::{any_values, luacell_values};

/// A run that was started: it is done, or it waits for answers to calls of declared functions. While it waits, nothing
/// of it is on any stack, and no thread belongs to it. The thread that started or resumed it last may use the sandbox
/// and its functions as part of the run, except that no other run can be started; others get LUACELL_BUSY. It keeps its
/// sandbox alive, and with it the store, also when luacell_sandbox_free was called. Used by one thread at a time.
pub struct luacell_run {
    _private: (),
}

/// What is behind a handle, which lives on when the run has ended.
pub(crate) struct Handle {
    name: Option<String>,
    /// While it waits. Not while it goes on: host functions that it calls then may use the handle too.
    run: Option<Run>,
    goes_on: bool,
    /// Once it is done.
    result: Result<Outcome>,
}

impl Opaque for luacell_run {
    type Behind = Handle;
}

impl Handle {
    fn new(run: Run) -> Self {
        let name = run.name().map(str::to_owned);
        let mut handle = Handle { name, result: Err(run.no_result()), run: Some(run), goes_on: false };
        handle.look();
        handle
    }

    /// Takes what it gave when it is done.
    fn look(&mut self) {
        if let Some(run) = self.run.take_if(|run| !run.is_waiting()) {
            self.result = run.into_result();
        }
    }

    fn waiting(&self) -> Result<&Run> {
        self.run.as_ref().ok_or_else(|| self.waits_not())
    }

    fn result(&self) -> Result<&Outcome> {
        match &self.run {
            Some(run) => Err(run.no_result()),
            None if self.goes_on => Err(self.waits_not()),
            None => self.result.as_ref().map_err(Error::clone),
        }
    }

    fn waits_not(&self) -> Error {
        if self.goes_on {
            Error::new(ErrorKind::Busy, "the run goes on at the moment")
        } else {
            invalid("the run is done")
        }
    }
}

/// Makes the name a function whose calls become requests of the run: whoever starts the run answers them. In a run that
/// was not started with luacell_start or luacell_start_call, calling it is an error. Dots in the name do what they do
/// for luacell_register, and luacell_unregister removes it.
///
/// Calling it does not keep a run from being repeated after a conflict: a durable run continues from its last wait, with
/// the answers that it was given since. Another run is not repeated once it has waited, and fails with LUACELL_CONFLICT;
/// with `queue_runs` there are no conflicts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_declare(
    sandbox: *mut luacell_sandbox,
    name: *const c_char,
    name_len: usize,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| sandbox.declare(text(name, name_len, "name")?))
}

/// Gives the caller a run.
unsafe fn start(
    sandbox: *mut luacell_sandbox,
    options: *const luacell_compute_options,
    run: *mut *mut luacell_run,
    error: *mut *mut luacell_error,
    start: impl FnOnce(&Sandbox, ComputeOptions) -> Result<Run>,
) -> luacell_status {
    with(sandbox, error, |sandbox| {
        let place = Place::new(run, "run")?;
        place.give(Handle::new(start(sandbox, compute_options(options)?.unwrap_or_else(ComputeOptions::new))?));
        Ok(())
    })
}

/// Starts a run of Lua source. It is done when this returns, or waits for answers to calls of declared functions; to be
/// freed. `options` may be NULL. Time that it spends waiting does not count towards its timeout. What the script fails
/// with is the run's result; LUACELL_BUSY and the like are errors of this call, when the run could not begin.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_start(
    sandbox: *mut luacell_sandbox,
    source: *const c_char,
    source_len: usize,
    options: *const luacell_compute_options,
    run: *mut *mut luacell_run,
    error: *mut *mut luacell_error,
) -> luacell_status {
    start(sandbox, options, run, error, |sandbox, options| sandbox.start(bytes(source, source_len, "source")?, options))
}

/// Like luacell_start, for a global Lua function, named as for luacell_call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_start_call(
    sandbox: *mut luacell_sandbox,
    name: *const c_char,
    name_len: usize,
    options: *const luacell_compute_options,
    run: *mut *mut luacell_run,
    error: *mut *mut luacell_error,
) -> luacell_status {
    start(sandbox, options, run, error, |sandbox, options| sandbox.start_call(text(name, name_len, "name")?, options))
}

/// Writes the run that came with the snapshot that this sandbox was made of or restored to; to be freed. It waits for
/// the same requests under the same ids. Until somebody has taken it over, other runs get LUACELL_BUSY. NULL if there is
/// none, or somebody has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_waiting_run(
    sandbox: *mut luacell_sandbox,
    run: *mut *mut luacell_run,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| {
        let place = Place::new(run, "run")?;
        match sandbox.waiting_run()? {
            Some(run) => place.give(Handle::new(run)),
            None => place.put(std::ptr::null_mut()),
        }
        Ok(())
    })
}

/// Continues a durable run that waits in this sandbox's store, from where it waited last; to be freed. It waits for the
/// same requests under the same ids. The sandbox becomes what that one was, globals included; functions that the host
/// has give LUACELL_CLOSED afterwards, and host functions are found by their names. LUACELL_INVALID_ARGUMENT if no such
/// run waits in the store, it was stored by another version, or the sandbox loads no functions from its store;
/// LUACELL_BUSY while somebody else has claimed it; LUACELL_STORE if the store fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_resume(
    sandbox: *mut luacell_sandbox,
    name: *const c_char,
    name_len: usize,
    run: *mut *mut luacell_run,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| {
        let place = Place::new(run, "run")?;
        place.give(Handle::new(sandbox.resume(text(name, name_len, "name")?)?));
        Ok(())
    })
}

/// Whether it waits for answers; false for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_run_is_waiting(run: *const luacell_run) -> bool {
    borrow(run, "run").is_ok_and(|handle| handle.run.as_ref().is_some_and(Run::is_waiting))
}

/// Its name in the store, if it is durable; otherwise `data` is NULL. Belongs to the run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_run_name(run: *const luacell_run) -> luacell_bytes {
    let name = borrow(run, "run").ok().and_then(|handle| handle.name.as_deref());
    name.map(|name| luacell_bytes::of(name.as_bytes())).unwrap_or_default()
}

/// Writes what it waits for, in the order in which it was asked: a list that belongs to the caller, empty when the run is
/// done.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_run_requests(
    run: *const luacell_run,
    requests: *mut *mut luacell_requests,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let (handle, place) = (borrow(run, "run")?, Place::new(requests, "requests")?);
        place.give(handle.run.as_ref().map_or_else(|| Ok(Vec::new()), Run::requests)?);
        Ok(())
    })
}

/// Answers a request with what the function returns; `values` may be NULL for nothing, and is copied. Requests may be
/// answered in any order. The script gets the values when the run is resumed. LUACELL_INVALID_ARGUMENT if no such
/// request is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_run_answer(
    run: *mut luacell_run,
    id: u64,
    values: *const luacell_values,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || borrow(run, "run")?.waiting()?.answer(id, any_values(values)))
}

/// Answers a request with an error, made as for a host function, of which a copy is taken. The script can catch it;
/// otherwise the run fails as it would if a host function had failed with it. LUACELL_INVALID_ARGUMENT if no such request
/// is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_run_fail(
    run: *mut luacell_run,
    id: u64,
    failure: *const luacell_error,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let failure = borrow(failure, "failure")?.clone();
        borrow(run, "run")?.waiting()?.fail(id, failure)
    })
}

/// Lets the script continue with the answers that were given, as far as it gets with them. Afterwards the run is done,
/// or it waits again. What the script fails with is the run's result. LUACELL_INVALID_ARGUMENT if it is done already;
/// LUACELL_BUSY while another thread uses the sandbox, and in host functions that the script calls meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_run_resume(run: *mut luacell_run, error: *mut *mut luacell_error) -> luacell_status {
    guard::status(error, || {
        let mut resumed = {
            let handle = borrow_mut(run, "run")?;
            let waits = handle.run.take().ok_or_else(|| handle.waits_not())?;
            handle.goes_on = true;
            waits
        };
        let result = resumed.resume();
        let handle = borrow_mut(run, "run")?;
        handle.goes_on = false;
        handle.run = Some(resumed);
        handle.look();
        result
    })
}

/// Writes the outcome of a run that is done, which belongs to the caller, or fails with what the run failed with; each
/// call does the same. `outcome` may be NULL. LUACELL_BUSY while the run waits, LUACELL_CLOSED if it was cancelled or its sandbox
/// was closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_run_result(
    run: *const luacell_run,
    outcome: *mut *mut luacell_outcome,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let result = borrow(run, "run")?.result()?;
        if !outcome.is_null() {
            Place::new(outcome, "outcome")?.give(result.clone());
        }
        Ok(())
    })
}

/// Claims a durable run for another term, for waits that take longer than `claim_term_ms`. Does nothing for other runs,
/// nor for one that is done. LUACELL_CONFLICT if the claim had ended and somebody else has taken the run over, who
/// continues with it: this one can only be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_run_renew(run: *mut luacell_run, error: *mut *mut luacell_error) -> luacell_status {
    guard::status(error, || borrow(run, "run")?.run.as_ref().map_or(Ok(()), Run::renew))
}

/// Ends a run that waits. Nothing of it is kept; of a durable run, what it had written when it waited. Does nothing to
/// one that is done, or that continues at the moment. The handle still has to be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_run_cancel(run: *mut luacell_run) {
    guard::plain((), || {
        if let Ok(handle) = borrow_mut(run, "run")
            && let Some(run) = handle.run.take()
        {
            handle.result = Err(Error::new(ErrorKind::Closed, "the run was cancelled"));
            run.cancel();
        }
    });
}

/// Ends a handle. A durable run that waits goes on waiting in its store, where anybody may resume it; any other run that
/// waits is cancelled. Don't call this while the run continues, which is also what it does when it calls a host function.
/// NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_run_free(run: *mut luacell_run) {
    guard::plain((), || drop(from_raw(run)));
}

/// Calls of declared functions that wait for their answers, in a row.
pub struct luacell_requests {
    _private: (),
}

impl Opaque for luacell_requests {
    type Behind = Vec<Request>;
}

unsafe fn request<'a>(requests: *const luacell_requests, position: usize) -> Option<&'a Request> {
    borrow(requests, "requests").ok()?.get(position)
}

/// How many there are; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_requests_len(requests: *const luacell_requests) -> usize {
    borrow(requests, "requests").map_or(0, Vec::len)
}

/// The id of the request at a position from 0, which it keeps for as long as the run waits for it, also in a snapshot
/// and in a store. Ids are counted from 1 in each run; 0 beyond the last position.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_requests_id(requests: *const luacell_requests, position: usize) -> u64 {
    request(requests, position).map_or(0, |request| request.id)
}

/// The name of the function that was called; task.sleep for a script that lets time pass, with the seconds as its
/// argument. Belongs to the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_requests_name(requests: *const luacell_requests, position: usize) -> luacell_bytes {
    request(requests, position).map(|request| luacell_bytes::of(request.name.as_bytes())).unwrap_or_default()
}

/// What the script passed. Belongs to the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_requests_args(
    requests: *const luacell_requests,
    position: usize,
) -> *const luacell_values {
    request(requests, position).map_or(std::ptr::null(), |request| view(&request.args))
}

/// Ends a list, with what is in it. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_requests_free(requests: *mut luacell_requests) {
    guard::plain((), || drop(from_raw(requests)));
}

/// Durable runs that wait in a store, in the order of their names.
pub struct luacell_pending_runs {
    _private: (),
}

impl Opaque for luacell_pending_runs {
    type Behind = Vec<PendingRun>;
}

/// Lists the durable runs that wait in this sandbox's store: a list that belongs to the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_pending_runs(
    sandbox: *mut luacell_sandbox,
    runs: *mut *mut luacell_pending_runs,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| {
        let place = Place::new(runs, "runs")?;
        place.give(sandbox.pending_runs()?);
        Ok(())
    })
}

/// Removes a durable run that waits in this sandbox's store and that nobody has claimed. What it has written to tables
/// stays. `was_there` may be NULL. LUACELL_BUSY while somebody has claimed it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sandbox_drop_pending_run(
    sandbox: *mut luacell_sandbox,
    name: *const c_char,
    name_len: usize,
    was_there: *mut bool,
    error: *mut *mut luacell_error,
) -> luacell_status {
    with(sandbox, error, |sandbox| {
        let found = sandbox.drop_pending_run(text(name, name_len, "name")?)?;
        if !was_there.is_null() {
            was_there.write(found);
        }
        Ok(())
    })
}

unsafe fn pending_run<'a>(runs: *const luacell_pending_runs, position: usize) -> Option<&'a PendingRun> {
    borrow(runs, "runs").ok()?.get(position)
}

/// How many there are; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_pending_runs_len(runs: *const luacell_pending_runs) -> usize {
    borrow(runs, "runs").map_or(0, Vec::len)
}

/// The name of the run at a position from 0. Belongs to the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_pending_runs_name(
    runs: *const luacell_pending_runs,
    position: usize,
) -> luacell_bytes {
    pending_run(runs, position).map(|run| luacell_bytes::of(run.name.as_bytes())).unwrap_or_default()
}

/// For how many more milliseconds somebody has claimed it, who may be at work for it; 0 if anybody may resume it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_pending_runs_claimed_ms(runs: *const luacell_pending_runs, position: usize) -> u64 {
    let claimed = pending_run(runs, position).and_then(|run| run.claimed);
    // Rounded up: the last part of a millisecond is not "nobody".
    claimed.map_or(0, |left| u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX).max(1))
}

/// Ends a list. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_pending_runs_free(runs: *mut luacell_pending_runs) {
    guard::plain((), || drop(from_raw(runs)));
}
