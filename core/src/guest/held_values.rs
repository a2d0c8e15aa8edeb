//! Functions of the host that Lua holds.

use super::GuestMut;
use crate::util::ByteReader;
use crate::value::Result;

/// Asks the guest now and then, before a run, when no message is on its way to it, which functions of the host it holds.
#[inline]
pub(crate) fn compare_host_values(guest: &mut GuestMut<'_>) -> Result<()> {
    if guest.host().values.wants_comparison() { compare(guest) } else { Ok(()) }
}

/// Asks the guest which functions of the host it holds.
#[cold]
pub(crate) fn compare(guest: &mut GuestMut<'_>) -> Result<()> {
    let Ok(n) = u32::try_from(guest.list_host_values()?) else {
        return Ok(());
    };
    guest.refresh_buffer()?;
    let mut reader = ByteReader::new(guest.result(n)?);
    let has: Vec<_> = std::iter::from_fn(|| Some((reader.u32()?, reader.u32()?))).collect();
    let host = guest.host();
    host.gone.extend(host.values.compare(has.into_iter()));
    host.drop_gone();
    Ok(())
}
