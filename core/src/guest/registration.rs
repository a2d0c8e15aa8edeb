//! Making host functions known to the guest.

use std::sync::Arc;

use super::GuestMut;
use crate::machine::Entry;
use crate::value::{Error, ErrorKind, Result, Value, codec};

/// Makes host functions known to a new instance. One that has no place there any more, because of what a script had
/// made of its name, is left out: without it the sandbox goes on.
pub(crate) fn register_all(
    guest: &mut GuestMut<'_>,
    functions: impl IntoIterator<Item = (i32, Arc<str>)>,
) -> Result<()> {
    functions.into_iter().try_for_each(|(id, name)| match register(guest, &name, id) {
        Err(error) if error.is_fatal() => Err(error),
        _ => Ok(()),
    })
}

/// Makes a host function known to the guest.
pub(crate) fn register(guest: &mut GuestMut<'_>, name: &str, id: i32) -> Result<()> {
    change_function(guest, name, |name_len| Entry::RegisterFunction { name_len, id })
}

pub(crate) fn unregister(guest: &mut GuestMut<'_>, name: &str, id: i32) -> Result<()> {
    change_function(guest, name, |name_len| Entry::UnregisterFunction { name_len, id })
}

fn change_function(guest: &mut GuestMut<'_>, name: &str, entry: impl FnOnce(i32) -> Entry) -> Result<()> {
    guest.reserve(name.len())?;
    guest.write(&[name.as_bytes()])?;
    let n = guest.execute(entry(name.len() as i32))?;
    if n >= 0 {
        return Ok(());
    }
    guest.refresh_buffer()?;
    let len = u32::try_from(-i64::from(n) - 1).unwrap_or_default();
    let message = String::from_utf8_lossy(guest.result(len)?).into_owned();
    Err(match failed_with(guest)? {
        Some(ErrorKind::Memory) => Error::new(ErrorKind::Memory, message),
        _ => Error::invalid(message),
    })
}

/// The kind that the guest gives its last error, if it says so.
fn failed_with(guest: &mut GuestMut<'_>) -> Result<Option<ErrorKind>> {
    if guest.revision() < 2 || !guest.has_error_details() {
        return Ok(None);
    }
    let len = guest.get_error_details()?;
    guest.refresh_buffer()?;
    let mut details = Vec::new();
    // An error of the guest's own consists of text and numbers.
    codec::decode_simple(guest.result(len.cast_unsigned())?, &mut details);
    let kind = details.first().and_then(Value::as_integer).and_then(|kind| u16::try_from(kind).ok());
    Ok(kind.and_then(ErrorKind::from_number))
}
