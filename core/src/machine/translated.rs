//! The guest as C code: wasm2c has translated it, and it is a part of this library. No memory has to become executable for it.
//!
//! All of this crate's unsafe code that deals with it is here. Three rules keep it sound:
//!
//! - The guest's code, and what `runtime.c` adds to it, touches nothing but its own memory and its `luacell_machine`. Each access to memory
//!   either lands in address space that is reserved for it, or is checked.
//! - When the guest crashes, C's `longjmp` leaves its frames behind. No frame of Rust's is ever among them: Rust calls the guest only through
//!   `machine_call`, where such a jump ends, and the guest calls Rust only through the functions in [`HOOKS`], which have
//!   returned before anybody jumps. They let no panic out either: it is kept, the guest is left, and the panic goes on behind it.
//! - While the guest runs, the [`Cell`] belongs to whom it calls: the pointer that C hands back is made from the exclusive borrow that
//!   waits for the call's end.

#![allow(unsafe_code, reason = "calls of C; each has its own reason below")]

#[cfg(feature = "async")]
mod fiber;

use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};

#[cfg(feature = "hardened")]
use super::watchdog::{self, Stopped, Watchdog};
use super::{Data, Entry, Export, Facts, GUEST_ID, GuestId, Machine, NotStarted};
use crate::engine::EngineConfig;
use crate::host::Host;
use crate::instance::Context;
use crate::start::SETTINGS;
use crate::{Error, ErrorKind, Result, functions};

/// What `runtime.c` calls `ABANDON`.
const ABANDON: i64 = i64::MIN;

/// How a call of the guest ended: the numbers of `runtime.c`.
mod code {
    pub(super) const DONE: i32 = 0;
    pub(super) const OUT_OF_BOUNDS: i32 = 1;
    pub(super) const STACK: i32 = 2;
    pub(super) const UNREACHABLE: i32 = 3;
    pub(super) const BAD_CALL: i32 = 4;
    pub(super) const ARITHMETIC: i32 = 5;
    pub(super) const HOST_PANIC: i32 = 6;
}

#[repr(C)]
struct RawMachine {
    _opaque: [u8; 0],
}

#[repr(C)]
struct RawImage {
    _opaque: [u8; 0],
}

/// What the guest calls. Every pointer is the `host` of the present `machine_call`.
#[repr(C)]
struct Hooks {
    set: unsafe extern "C" fn(*mut c_void, u32, u32, u32, u32, u32) -> i64,
    get: unsafe extern "C" fn(*mut c_void, u32, u32, u32, u32, u32) -> i64,
    delete: unsafe extern "C" fn(*mut c_void, u32, u32, u32) -> i64,
    size: unsafe extern "C" fn(*mut c_void, u32) -> i64,
    keys: unsafe extern "C" fn(*mut c_void, u32, u32, u32) -> i64,
    max_memory: unsafe extern "C" fn(*mut c_void) -> u64,
    tick: unsafe extern "C" fn(*mut c_void) -> i64,
}

/// The functions of `runtime.c`, in its order.
#[repr(C)]
struct Api {
    handle_faults: unsafe extern "C" fn() -> i32,
    machine_new: unsafe extern "C" fn(*const RawImage, *const Hooks, *const AtomicU32, usize, usize) -> *mut RawMachine,
    machine_free: unsafe extern "C" fn(*mut RawMachine),
    machine_memory: unsafe extern "C" fn(*const RawMachine, *mut usize) -> *mut u8,
    machine_grow: unsafe extern "C" fn(*mut RawMachine, u64, u64) -> u64,
    machine_call: unsafe extern "C" fn(*mut RawMachine, *mut c_void, u32, u32, u32, u32, *mut u32) -> i32,
    #[cfg_attr(not(feature = "async"), allow(dead_code, reason = "a run stays in its thread"))]
    swap_active: unsafe extern "C" fn(*mut RawMachine) -> *mut RawMachine,
    image_new: unsafe extern "C" fn(*const RawMachine) -> *mut RawImage,
    image_free: unsafe extern "C" fn(*mut RawImage),
}

unsafe extern "C" {
    static luacell_plain: Api;
    #[cfg(feature = "hardened")]
    static luacell_hardened: Api;
}

/// The code of a guest.
fn api(hardened: bool) -> Result<&'static Api> {
    static PLAIN_FAULTS: OnceLock<bool> = OnceLock::new();
    let (api, faults) = if hardened {
        hardened_api()?
    } else {
        // SAFETY: `runtime.c` has this constant, laid out as `Api` says.
        (unsafe { &luacell_plain }, &PLAIN_FAULTS)
    };
    // SAFETY: called once for each copy of the code. From then on faults that are no guest's are handled by whoever handled them before.
    if !faults.get_or_init(|| unsafe { (api.handle_faults)() } == 0) {
        return Err(Error::internal("the system lets nobody handle faults in memory"));
    }
    Ok(api)
}

#[cfg(feature = "hardened")]
fn hardened_api() -> Result<(&'static Api, &'static OnceLock<bool>)> {
    static FAULTS: OnceLock<bool> = OnceLock::new();
    // SAFETY: as for the plain one.
    Ok((unsafe { &luacell_hardened }, &FAULTS))
}

#[cfg(not(feature = "hardened"))]
fn hardened_api() -> Result<(&'static Api, &'static OnceLock<bool>)> {
    Err(Error::invalid("this build of luacell has no hardened guest; turn on the feature `hardened`"))
}

/// What an export takes.
pub(crate) trait Params {
    /// As the three words that any export takes at most.
    fn words(self) -> [u32; 3];
}

impl Params for () {
    #[inline]
    fn words(self) -> [u32; 3] {
        [0; 3]
    }
}

impl Params for (i32,) {
    #[inline]
    fn words(self) -> [u32; 3] {
        [self.0.cast_unsigned(), 0, 0]
    }
}

impl Params for (i32, i32) {
    #[inline]
    fn words(self) -> [u32; 3] {
        [self.0.cast_unsigned(), self.1.cast_unsigned(), 0]
    }
}

impl Params for (i32, i32, i32) {
    #[inline]
    fn words(self) -> [u32; 3] {
        [self.0.cast_unsigned(), self.1.cast_unsigned(), self.2.cast_unsigned()]
    }
}

/// What an export gives.
pub(crate) trait Answer {
    fn of(word: u32) -> Self;
}

impl Answer for () {
    #[inline]
    fn of(_: u32) -> Self {}
}

impl Answer for i32 {
    #[inline]
    fn of(word: u32) -> Self {
        word.cast_signed()
    }
}

/// A guest's memory, globals and table.
struct Raw {
    machine: NonNull<RawMachine>,
    api: &'static Api,
}

// SAFETY: a machine knows of no thread between calls; what refers to a thread is made anew by each call.
unsafe impl Send for Raw {}

// SAFETY: through a shared reference nothing but `memory` is called, which only reads what calls through an exclusive one write.
unsafe impl Sync for Raw {}

impl Raw {
    /// A guest as in the image, or without one a guest that was not initialised. `None` when there is no memory for it. The clock has to outlive it.
    fn new(
        api: &'static Api,
        image: Option<&Image>,
        hooks: &'static Hooks,
        clock: &AtomicU32,
        config: &EngineConfig,
    ) -> Option<Self> {
        let image = image.map_or(ptr::null(), |image| image.image.as_ptr().cast_const());
        let space = usize::try_from(config.max_memory).unwrap_or(usize::MAX);
        // SAFETY: the image is null or lives as long as this call, the hooks as long as the program, and the clock longer than the machine.
        let machine = unsafe { (api.machine_new)(image, hooks, clock, config.max_stack, space) };
        NonNull::new(machine).map(|machine| Raw { machine, api })
    }

    #[inline]
    fn memory(&self) -> &[u8] {
        let mut size = 0;
        // SAFETY: the machine is alive. Its memory is readable up to its size and stays where it is; it changes and grows only in calls that
        // need this machine exclusively, which ends this borrow.
        unsafe {
            let data = (self.api.machine_memory)(self.machine.as_ptr(), &mut size);
            std::slice::from_raw_parts(data, size)
        }
    }

    #[inline]
    fn memory_mut(&mut self) -> &mut [u8] {
        let mut size = 0;
        // SAFETY: as in `memory`; it is writable as well, and nobody else has it.
        unsafe {
            let data = (self.api.machine_memory)(self.machine.as_ptr(), &mut size);
            std::slice::from_raw_parts_mut(data, size)
        }
    }

    fn grow(&mut self, pages: u64, max_size: u64) -> bool {
        // SAFETY: the machine is alive and nobody else has it.
        unsafe { (self.api.machine_grow)(self.machine.as_ptr(), pages, max_size) != u64::MAX }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: it was made by `machine_new` and is not used any more.
        unsafe { (self.api.machine_free)(self.machine.as_ptr()) }
    }
}

/// The memory of a new guest.
struct Image {
    image: NonNull<RawImage>,
    api: &'static Api,
}

// SAFETY: nobody writes to an image once it is made.
unsafe impl Send for Image {}
// SAFETY: as above.
unsafe impl Sync for Image {}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: it was made by `image_new`, and machines keep nothing of it but mappings of the system's.
        unsafe { (self.api.image_free)(self.image.as_ptr()) }
    }
}

/// What is the same in all guests of an engine.
struct Blueprint {
    /// Changes with each tick, where the guest is hardened.
    clock: Arc<AtomicU32>,
    image: Image,
    facts: Facts,
    config: EngineConfig,
}

impl Blueprint {
    /// Starts the guest once, as the build script does it for wasmtime.
    fn new(config: &EngineConfig) -> Result<Self> {
        let api = api(config.hardened)?;
        let clock = Arc::<AtomicU32>::default();
        let none = || Error::new(ErrorKind::Memory, "there is no memory for the guest");
        let machine = Raw::new(api, None, &STARTING, &clock, config).ok_or_else(none)?;
        let call = |number: u32, argument: i32| {
            let mut result = 0;
            let max_memory: *const u64 = &raw const config.max_memory;
            // SAFETY: the machine is alive and nobody else has it; the hooks that it was made with take a pointer to this number.
            let code = unsafe {
                (api.machine_call)(
                    machine.machine.as_ptr(),
                    max_memory.cast_mut().cast(),
                    number,
                    argument.cast_unsigned(),
                    0,
                    0,
                    &mut result,
                )
            };
            if code == code::DONE { Ok(result) } else { Err(trap(code)) }
        };
        if call(Export::init as u32, 0)? != 0 {
            return Err(Error::internal("the guest's init failed"));
        }
        for (name, argument) in SETTINGS {
            if let Some(number) = Export::NAMES.iter().position(|known| *known == name) {
                call(number as u32, argument)?;
            }
        }
        // SAFETY: the machine is alive, and nothing runs in it.
        let image = NonNull::new(unsafe { (api.image_new)(machine.machine.as_ptr()) }).ok_or_else(none)?;
        start_clock(config, &clock)?;
        Ok(Blueprint {
            clock,
            image: Image { image, api },
            facts: Facts { ready: true, known: OnceLock::new() },
            config: config.clone(),
        })
    }

    fn machine(&self) -> Option<Raw> {
        Raw::new(self.image.api, Some(&self.image), &HOOKS, &self.clock, &self.config)
    }
}

/// Where instances come from.
pub(crate) struct Machines {
    config: EngineConfig,
    blueprint: OnceLock<Result<Arc<Blueprint>>>,
}

impl Machines {
    pub(crate) fn new(config: EngineConfig) -> Self {
        Machines { config, blueprint: OnceLock::new() }
    }

    pub(crate) fn from_wasm(_: &[u8], _: EngineConfig) -> Result<Self> {
        Err(Error::invalid(
            "this build of luacell has its guest built in and runs no other; that needs a build without the feature `static`, and with `jit`",
        ))
    }

    pub(crate) fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Starts the guest now.
    pub(crate) fn load(&self) -> Result<()> {
        self.blueprint().map(|_| ())
    }

    pub(crate) fn guest_id(&self) -> &GuestId {
        GUEST_ID
    }

    pub(crate) fn is_foreign(&self) -> bool {
        false
    }

    /// Making one from nothing takes no longer.
    pub(crate) fn is_pooled(&self) -> bool {
        false
    }

    fn blueprint(&self) -> Result<&Arc<Blueprint>> {
        let make = || Blueprint::new(&self.config).map(Arc::new);
        self.blueprint.get_or_init(make).as_ref().map_err(Error::clone)
    }

    /// A new instance.
    pub(crate) fn instantiate(&self, mut host: Host, max_memory: usize, waits: bool) -> Result<Owned, Box<NotStarted>> {
        host.waits = waits;
        let fail = |error, host| Err(Box::new(NotStarted { error, host }));
        let blueprint = match self.blueprint() {
            Ok(blueprint) => Arc::clone(blueprint),
            Err(error) => return fail(error, host),
        };
        let Some(raw) = blueprint.machine() else {
            return fail(
                Error::new(ErrorKind::Memory, "no sandbox could be made: the system gives no more memory"),
                host,
            );
        };
        #[cfg(feature = "hardened")]
        let watchdog =
            self.config.hardened.then(|| Watchdog::new(self.config.call_deadline.unwrap_or(std::time::Duration::MAX)));
        let data = Data { host, buffer: Default::default(), revision: 1, max_memory, metrics: 0 };
        Ok(Owned {
            cell: Cell {
                data,
                raw,
                blueprint,
                panic: None,
                #[cfg(feature = "hardened")]
                watchdog,
                #[cfg(feature = "hardened")]
                stopped: None,
                #[cfg(feature = "async")]
                fiber: None,
            },
        })
    }
}

/// A guest with its host.
struct Cell {
    data: Data,
    raw: Raw,
    blueprint: Arc<Blueprint>,
    /// A panic that waits for the guest to be left.
    panic: Option<Box<dyn Any + Send>>,
    #[cfg(feature = "hardened")]
    watchdog: Option<Watchdog>,
    /// Why the watchdog wants the guest to be left.
    #[cfg(feature = "hardened")]
    stopped: Option<Stopped>,
    /// The stack that the present run has for itself.
    #[cfg(feature = "async")]
    fiber: Option<fiber::Current>,
}

/// An instance.
pub(crate) struct Owned {
    cell: Cell,
}

impl Owned {
    #[inline]
    pub(crate) fn at(&mut self) -> At<'_> {
        At(&mut self.cell)
    }

    #[inline]
    pub(crate) fn data(&self) -> &Data {
        &self.cell.data
    }

    #[inline]
    pub(crate) fn data_mut(&mut self) -> &mut Data {
        &mut self.cell.data
    }

    /// Ends the instance and gives back what outlives it.
    pub(crate) fn into_data(self) -> Data {
        self.cell.data
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.cell.blueprint.facts
    }

    /// Sees to it that host functions may be futures; whether that was possible with this instance: it always is.
    #[cfg(feature = "async")]
    pub(crate) fn make_waiting(&mut self) -> bool {
        self.cell.data.host.waits = true;
        true
    }
}

/// An instance that somebody has at hand.
pub(crate) struct At<'a>(&'a mut Cell);

impl At<'_> {
    #[inline]
    pub(crate) fn reborrow(&mut self) -> At<'_> {
        At(self.0)
    }

    /// Calls an export.
    #[inline]
    fn enter(&mut self, export: Export, words: [u32; 3]) -> Result<u32> {
        #[cfg(feature = "hardened")]
        if let Some(watchdog) = &mut self.0.watchdog {
            watchdog.enter();
        }
        let [a, b, c] = words;
        let mut result = 0;
        let Raw { machine, api } = self.0.raw;
        let host: *mut Cell = self.0;
        // SAFETY: the machine is alive and this thread has it alone. Its hooks take a pointer to a cell; they use it only until this call ends, in which time
        // nothing here does.
        let code = unsafe { (api.machine_call)(machine.as_ptr(), host.cast(), export as u32, a, b, c, &mut result) };
        if code == code::DONE { Ok(result) } else { Err(self.left(code)) }
    }

    /// The guest did not return.
    #[cold]
    fn left(&mut self, code: i32) -> Error {
        if code == code::HOST_PANIC
            && let Some(panic) = self.0.panic.take()
        {
            resume_unwind(panic);
        }
        #[cfg(feature = "hardened")]
        if let Some(stopped) = self.0.stopped.take() {
            return Error::new(stopped.0, stopped.to_string()).fatal();
        }
        trap(code)
    }

    /// As `execute`, on a stack of its own, so that the run can wait.
    #[cfg(feature = "async")]
    pub(crate) async fn execute_async(&mut self, entry: Entry) -> Result<i32> {
        let mut run = fiber::Run::new(self.0, entry)?;
        std::future::poll_fn(|task| run.poll(task)).await
    }
}

impl Machine for At<'_> {
    #[inline]
    fn data(&self) -> &Data {
        &self.0.data
    }

    #[inline]
    fn data_mut(&mut self) -> &mut Data {
        &mut self.0.data
    }

    #[inline]
    fn memory(&self) -> Result<&[u8]> {
        Ok(self.0.raw.memory())
    }

    #[inline]
    fn memory_and_data(&mut self) -> Result<(&mut [u8], &mut Data)> {
        Ok((self.0.raw.memory_mut(), &mut self.0.data))
    }

    fn grow(&mut self, pages: u64) -> Result<()> {
        if self.0.raw.grow(pages, self.0.data.max_memory as u64) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Memory, "no memory for the sandbox").fatal())
    }

    #[inline]
    fn offers(&self, _: Export) -> bool {
        // It would not have been translated otherwise.
        true
    }

    #[inline]
    fn call<P: Params, R: Answer>(&mut self, export: Export, params: P) -> Result<R> {
        self.enter(export, params.words()).map(R::of)
    }

    #[inline]
    fn execute(&mut self, entry: Entry) -> Result<i32> {
        let buffer = self.0.data.buffer.ptr.cast_signed();
        match entry {
            Entry::Compute { len } => self.call(Export::compute, (buffer, len)),
            Entry::ComputeNamed { name_len, code_len, args_len } => {
                self.call(Export::compute_named, (name_len, code_len, args_len))
            }
            Entry::Call { path_len, args_len } => self.call(Export::call, (path_len, args_len)),
            Entry::CallHandle { handle, args_len } => self.call(Export::call_handle, (handle, args_len)),
            Entry::RegisterFunction { name_len, id } => self.call(Export::register_function, (name_len, id)),
            Entry::UnregisterFunction { name_len, id } => self.call(Export::unregister_function, (name_len, id)),
        }
    }

    #[inline]
    fn facts(&self) -> &Facts {
        &self.0.blueprint.facts
    }
}

/// What it means that the guest was left in the middle.
#[cold]
fn trap(code: i32) -> Error {
    let why = match code {
        code::OUT_OF_BOUNDS => "out of bounds memory access",
        code::STACK => "call stack exhausted",
        code::UNREACHABLE => "`unreachable` instruction executed",
        code::BAD_CALL => "an indirect call of no function, or of one with another type",
        code::ARITHMETIC => "an integer division or conversion without a result",
        _ => "for an unknown reason",
    };
    Error::new(ErrorKind::Trap, format!("the guest crashed: wasm trap: {why}")).fatal()
}

/// For a running guest: each takes a pointer to its [`Cell`].
static HOOKS: Hooks = Hooks { set, get, delete, size, keys, max_memory, tick };

/// What a hook gives back to C. No panic passes.
///
/// # Safety
/// `host` is what `At::enter` passed for the call that is under way.
#[inline]
unsafe fn hook(host: *mut c_void, f: impl FnOnce(&mut Context<'_>) -> i32) -> i64 {
    // SAFETY: the caller's promise: it is a cell, whose borrow waits in `At::enter` while this one lasts.
    let cell = unsafe { &mut *host.cast::<Cell>() };
    match catch_unwind(AssertUnwindSafe(|| f(&mut Context(At(cell))))) {
        Ok(answer) => i64::from(answer),
        Err(panic) => {
            // SAFETY: as above; the borrow of the call that panicked is over.
            unsafe { (*host.cast::<Cell>()).panic = Some(panic) };
            ABANDON
        }
    }
}

/// Memory and host of the guest that calls.
#[inline]
fn with_host(context: &mut Context<'_>, f: impl FnOnce(&mut [u8], &mut Host) -> i32) -> i32 {
    context.memory_and_host().map_or(-1, |(memory, host)| f(memory, host))
}

unsafe extern "C" fn set(host: *mut c_void, t: u32, k: u32, kl: u32, v: u32, vl: u32) -> i64 {
    let [t, k, kl, v, vl] = [t, k, kl, v, vl].map(u32::cast_signed);
    // SAFETY: C passes the host of the present call.
    unsafe { hook(host, |context| with_host(context, |memory, host| host.set(memory, t, k, kl, v, vl))) }
}

unsafe extern "C" fn get(host: *mut c_void, t: u32, k: u32, kl: u32, v: u32, max: u32) -> i64 {
    let [t, k, kl, v, max] = [t, k, kl, v, max].map(u32::cast_signed);
    let answer = |context: &mut Context<'_>| {
        if t != 0 {
            return with_host(context, |memory, host| host.get(memory, t, k, kl, v, max));
        }
        // A request over the channel: it may run a host function, which may come back into the guest.
        if context.memory().is_ok_and(|memory| Host::is_call(memory, k, kl)) {
            return functions::answer_call(context, k, kl, v, max);
        }
        with_host(context, |memory, host| host.request(memory, k, kl, v, max))
    };
    // SAFETY: C passes the host of the present call.
    unsafe { hook(host, answer) }
}

unsafe extern "C" fn delete(host: *mut c_void, t: u32, k: u32, kl: u32) -> i64 {
    let [t, k, kl] = [t, k, kl].map(u32::cast_signed);
    // SAFETY: C passes the host of the present call.
    unsafe { hook(host, |context| with_host(context, |memory, host| host.delete(memory, t, k, kl))) }
}

unsafe extern "C" fn size(host: *mut c_void, t: u32) -> i64 {
    let t = t.cast_signed();
    let answer = |context: &mut Context<'_>| {
        #[cfg(feature = "async")]
        if t == 0 && context.host().waits {
            return fiber::wait(context);
        }
        context.host().size(t)
    };
    // SAFETY: C passes the host of the present call.
    unsafe { hook(host, answer) }
}

unsafe extern "C" fn keys(host: *mut c_void, t: u32, b: u32, max: u32) -> i64 {
    let [t, b, max] = [t, b, max].map(u32::cast_signed);
    // SAFETY: C passes the host of the present call.
    unsafe { hook(host, |context| with_host(context, |memory, host| host.keys(memory, t, b, max))) }
}

unsafe extern "C" fn max_memory(host: *mut c_void) -> u64 {
    // SAFETY: C passes the host of the present call, a cell that nobody uses in the meantime.
    unsafe { (*host.cast::<Cell>()).data.max_memory as u64 }
}

/// The clock has ticked.
unsafe extern "C" fn tick(host: *mut c_void) -> i64 {
    #[cfg(feature = "hardened")]
    {
        // SAFETY: C passes the host of the present call, a cell that nobody uses in the meantime.
        let cell = unsafe { &mut *host.cast::<Cell>() };
        let verdict = cell.watchdog.as_mut().and_then(|watchdog| watchdog.verdict(&mut cell.data.host));
        if let Some(kind) = verdict {
            cell.stopped = Some(Stopped(kind));
            return ABANDON;
        }
    }
    let _ = host;
    0
}

/// Makes the clock tick as long as the engine lives, where there are checks for it.
#[cfg(feature = "hardened")]
fn start_clock(config: &EngineConfig, clock: &Arc<AtomicU32>) -> Result<()> {
    if !config.hardened {
        return Ok(());
    }
    let clock = Arc::downgrade(clock);
    watchdog::start_clock(move || {
        clock.upgrade().is_some_and(|clock| {
            clock.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            true
        })
    })
}

#[cfg(not(feature = "hardened"))]
fn start_clock(_: &EngineConfig, _: &Arc<AtomicU32>) -> Result<()> {
    Ok(())
}

/// For a guest that starts: no table exists then, and no host. Each takes a pointer to the most that the memory may grow to.
static STARTING: Hooks = Hooks {
    set: absent5,
    get: absent5,
    delete: absent3,
    size: absent1,
    keys: absent3,
    max_memory: starting_memory,
    tick: absent0,
};

unsafe extern "C" fn absent5(_: *mut c_void, _: u32, _: u32, _: u32, _: u32, _: u32) -> i64 {
    -1
}

unsafe extern "C" fn absent3(_: *mut c_void, _: u32, _: u32, _: u32) -> i64 {
    -1
}

unsafe extern "C" fn absent0(_: *mut c_void) -> i64 {
    0
}

unsafe extern "C" fn absent1(_: *mut c_void, _: u32) -> i64 {
    -1
}

unsafe extern "C" fn starting_memory(host: *mut c_void) -> u64 {
    // SAFETY: `Blueprint::new` passes a pointer to this number.
    unsafe { *host.cast::<u64>() }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    /// Set for the process that crashes.
    const CRASHES: &str = "LUACELL_TEST_CRASHES";
    const SEGV: i32 = 11;

    /// Faults that are not a guest's end the program as before.
    #[test]
    fn other_faults_are_passed_on() {
        if std::env::var_os(CRASHES).is_some() {
            let sandbox = crate::Sandbox::new().unwrap();
            let crash = |(): ()| -> crate::Result<()> {
                // SAFETY: none; the process is here to crash, in the middle of a call of the guest.
                unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
                Ok(())
            };
            sandbox.register("crash", crash).unwrap();
            let _ = sandbox.compute("crash()");
            return;
        }
        let name = "machine::translated::tests::other_faults_are_passed_on";
        let mut process = Command::new(std::env::current_exe().unwrap());
        let output = process.args(["--exact", name]).env(CRASHES, "1").output().unwrap();
        assert_eq!(output.status.signal(), Some(SEGV), "{output:?}");
    }
}
