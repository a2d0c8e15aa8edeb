//! The interface between `runtime.c` and this crate.

use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;

use crate::value::{Error, Result};

/// What `runtime.c` calls `ABANDON`.
pub(super) const ABANDON: i64 = i64::MIN;

/// How a call of the guest ended: the numbers of `runtime.c`.
pub(super) mod code {
    pub(crate) const DONE: i32 = 0;
    pub(crate) const OUT_OF_BOUNDS: i32 = 1;
    pub(crate) const STACK: i32 = 2;
    pub(crate) const UNREACHABLE: i32 = 3;
    pub(crate) const BAD_CALL: i32 = 4;
    pub(crate) const ARITHMETIC: i32 = 5;
    pub(crate) const HOST_PANIC: i32 = 6;
}

#[repr(C)]
pub(super) struct RawMachine {
    _opaque: [u8; 0],
}

#[repr(C)]
pub(super) struct RawImage {
    _opaque: [u8; 0],
}

/// What the guest calls. Every pointer is the `host` of the present `machine_call`.
#[repr(C)]
pub(super) struct Hooks {
    pub(super) set: unsafe extern "C" fn(*mut c_void, u32, u32, u32, u32, u32) -> i64,
    pub(super) get: unsafe extern "C" fn(*mut c_void, u32, u32, u32, u32, u32) -> i64,
    pub(super) delete: unsafe extern "C" fn(*mut c_void, u32, u32, u32) -> i64,
    pub(super) size: unsafe extern "C" fn(*mut c_void, u32) -> i64,
    pub(super) keys: unsafe extern "C" fn(*mut c_void, u32, u32, u32) -> i64,
    pub(super) max_memory: unsafe extern "C" fn(*mut c_void) -> u64,
    pub(super) tick: unsafe extern "C" fn(*mut c_void) -> i64,
}

/// The functions of `runtime.c`, in its order.
#[repr(C)]
pub(super) struct Api {
    pub(super) handle_faults: unsafe extern "C" fn() -> i32,
    pub(super) machine_new:
        unsafe extern "C" fn(*const RawImage, *const Hooks, *const AtomicU32, usize, usize) -> *mut RawMachine,
    pub(super) machine_free: unsafe extern "C" fn(*mut RawMachine),
    pub(super) machine_reset: unsafe extern "C" fn(*mut RawMachine, *const RawImage) -> bool,
    pub(super) machine_memory: unsafe extern "C" fn(*const RawMachine, *mut usize) -> *mut u8,
    pub(super) machine_grow: unsafe extern "C" fn(*mut RawMachine, u64, u64) -> u64,
    pub(super) machine_call: unsafe extern "C" fn(*mut RawMachine, *mut c_void, u32, u32, u32, u32, *mut u32) -> i32,
    pub(super) image_new: unsafe extern "C" fn(*const RawMachine) -> *mut RawImage,
    pub(super) image_free: unsafe extern "C" fn(*mut RawImage),
}

unsafe extern "C" {
    static luacell_plain: Api;
    #[cfg(feature = "hardened")]
    static luacell_hardened: Api;
}

/// The code of a guest.
pub(super) fn api(hardened: bool) -> Result<&'static Api> {
    static PLAIN_FAULTS: OnceLock<bool> = OnceLock::new();
    let (api, faults) = if hardened {
        hardened_api()?
    } else {
        // SAFETY: `runtime.c` has this constant, laid out as `Api` says.
        (unsafe { &luacell_plain }, &PLAIN_FAULTS)
    };
    // SAFETY: called once for each copy of the code. From then on faults that are no guest's are handled by whoever
    // handled them before.
    if !faults.get_or_init(|| unsafe { (api.handle_faults)() } == 0) {
        return Err(Error::internal("the system does not let luacell handle memory faults"));
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
