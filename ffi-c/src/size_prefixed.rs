//! Structs that begin with their size, so that later versions can add fields: programs that were compiled before leave
//! them out.

use luacell::Result;

use crate::pointers::invalid;

/// # Safety
/// `repr(C)`, begins with `size: usize`, and all zeroes are a valid value, which means defaults.
pub(crate) unsafe trait SizePrefixed: Copy {}

/// What the caller passed, with zeroes for the fields that it does not know; `None` for NULL.
pub(crate) unsafe fn read<T: SizePrefixed>(pointer: *const T, name: &str) -> Result<Option<T>> {
    if pointer.is_null() {
        return Ok(None);
    }
    let size = check(pointer.cast(), name)?;
    let known = size.min(size_of::<T>());
    let rest = std::slice::from_raw_parts(pointer.cast::<u8>().add(known), size - known);
    if rest.iter().any(|byte| *byte != 0) {
        return Err(invalid(format!("{name} has a field that this version of luacell does not know")));
    }
    let mut value: T = std::mem::zeroed();
    std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut value).cast::<u8>(), known);
    Ok(Some(value))
}

/// What can be read of a struct that `read` refuses, so that its userdata can be ended. A size that makes no sense was
/// most likely forgotten: then all that this version knows is there.
pub(crate) unsafe fn refused<T: SizePrefixed>(pointer: *const T, name: &str) -> T {
    let known = check(pointer.cast(), name).map_or(size_of::<T>(), |size| size.min(size_of::<T>()));
    let mut value: T = std::mem::zeroed();
    std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut value).cast::<u8>(), known);
    value
}

/// Fills in the fields that the caller knows, except the size; those that we don't know become zero.
pub(crate) unsafe fn write<T: SizePrefixed>(pointer: *mut T, value: &T, name: &str) -> Result<()> {
    if pointer.is_null() {
        return Err(invalid(format!("{name} is NULL")));
    }
    let size = check(pointer.cast(), name)?;
    let known = size.min(size_of::<T>());
    let (first, target) = (size_of::<usize>(), pointer.cast::<u8>());
    std::ptr::copy_nonoverlapping(std::ptr::from_ref(value).cast::<u8>().add(first), target.add(first), known - first);
    target.add(known).write_bytes(0, size - known);
    Ok(())
}

/// The size at the beginning. A struct whose size was forgotten has something else there.
unsafe fn check(pointer: *const usize, name: &str) -> Result<usize> {
    const MOST: usize = 4096;
    let size = pointer.read();
    if (size_of::<usize>()..=MOST).contains(&size) {
        return Ok(size);
    }
    Err(invalid(format!("{name}: its field size is {size}; set it to sizeof {name}")))
}
