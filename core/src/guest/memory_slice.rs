//! Parts of the guest's memory, found by numbers that come from the guest.

/// Keys up to this length are copied to the stack.
const SHORT_KEY: usize = 64;

/// The part of memory that the guest names.
#[inline]
pub(crate) fn part(memory: &[u8], ptr: i32, len: i32) -> Option<&[u8]> {
    let start = ptr.cast_unsigned() as usize;
    memory.get(start..start.checked_add(len.cast_unsigned() as usize)?)
}

#[inline]
pub(super) fn part_mut(memory: &mut [u8], ptr: i32, len: i32) -> Option<&mut [u8]> {
    let start = ptr.cast_unsigned() as usize;
    memory.get_mut(start..start.checked_add(len.cast_unsigned() as usize)?)
}

/// Hands the key to `f`, copied out of memory. `None` when it does not lie in memory or is not UTF-8.
#[inline]
pub(super) fn with_key<T>(memory: &mut [u8], ptr: i32, len: i32, f: impl FnOnce(&mut [u8], &str) -> T) -> Option<T> {
    let key = part(memory, ptr, len)?;
    let mut short = [0; SHORT_KEY];
    if let Some(copy) = short.get_mut(..key.len()) {
        copy.copy_from_slice(key);
        return Some(f(memory, std::str::from_utf8(copy).ok()?));
    }
    let long = std::str::from_utf8(key).ok()?.to_owned();
    Some(f(memory, &long))
}
