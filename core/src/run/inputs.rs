//! What runs begin with: source or a function's name, and arguments, put into the guest's buffer.

use std::sync::Arc;

use super::sandbox_cell::SandboxCell;
use crate::guest::GuestMut;
use crate::guest::resolver::SandboxResolver;
use crate::machine::Entry;
use crate::value::codec::{self, Resolver};
use crate::value::{ArgList, Error, Function, Handle, Outcome, Result, Value};

/// Plain source, passed as it is.
#[inline]
pub(crate) fn enter_compute(guest: &mut GuestMut<'_>, source: &[u8]) -> Result<Entry> {
    check_source(guest, source)?;
    guest.reserve(source.len())?;
    guest.write(&[source])?;
    Ok(guest.compute_entry(source.len()))
}

pub(crate) fn enter_compute_with(
    guest: &mut GuestMut<'_>,
    resolver: &SandboxResolver,
    room: &mut Vec<u8>,
    source: &[u8],
    name: &str,
    args: &ArgList,
) -> Result<Entry> {
    check_source(guest, source)?;
    let args = args.encoded(room, resolver)?;
    guest.enter_source(name.as_bytes(), source, args)
}

pub(crate) fn enter_call(
    guest: &mut GuestMut<'_>,
    resolver: &SandboxResolver,
    args: &mut Vec<u8>,
    path: &str,
    values: &ArgList,
) -> Result<Entry> {
    let args = values.encoded(args, resolver)?;
    guest.reserve(path.len() + args.len())?;
    guest.write(&[path.as_bytes(), args])?;
    Ok(Entry::Call { path_len: path.len() as i32, args_len: args.len() as i32 })
}

impl GuestMut<'_> {
    /// Puts source and name into the buffer.
    #[inline]
    pub(crate) fn enter_source(&mut self, name: &[u8], source: &[u8], args: &[u8]) -> Result<Entry> {
        self.reserve(name.len() + source.len() + args.len())?;
        self.write(&[name, source, args])?;
        Ok(Entry::ComputeNamed {
            name_len: name.len() as i32,
            code_len: source.len() as i32,
            args_len: args.len() as i32,
        })
    }
}

#[inline]
fn check_source(guest: &mut GuestMut<'_>, source: &[u8]) -> Result<()> {
    let limit = guest.host().run.limits.source;
    if source.len() as u64 > limit {
        return Err(Error::invalid(format!(
            "the source has {} bytes, more than the {limit} of source_limit",
            source.len()
        )));
    }
    Ok(())
}

impl SandboxCell {
    /// Calls a function of this sandbox. `results` says how its results are read.
    pub(crate) fn call_handle(
        self: &Arc<Self>,
        handle: &Handle,
        args: &ArgList,
        results: impl Fn(&SandboxResolver),
    ) -> Result<Outcome> {
        self.access(|access| {
            let id = access.resolver(self)?.handle_of(handle)?;
            access.run(self, None, |guest, resolver, room| {
                results(resolver);
                let args = args.encoded(room, resolver)?;
                guest.reserve(args.len())?;
                guest.write(&[args])?;
                Ok(Entry::CallHandle { handle: id.cast_signed(), args_len: args.len() as i32 })
            })
        })
    }

    /// Calls a built-in, whatever the script has made of the global of its name.
    pub(crate) fn call_builtin(self: &Arc<Self>, function: &Function, args: Vec<Value>) -> Result<Outcome> {
        const SOURCE: &[u8] = b"return (function(f, ...) return f(...) end)(...)";
        let all: Vec<Value> = std::iter::once(Value::from(function)).chain(args).collect();
        self.access(|access| {
            access.run(self, None, |guest, resolver, encoded| {
                codec::encode_args(&all, encoded, resolver)?;
                guest.enter_source(b"=(host)", SOURCE, encoded)
            })
        })
    }
}
