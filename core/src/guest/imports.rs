//! The five functions that the guest imports. The contract is in `docs/HOST_FUNCTION_IMPORTS.md`.
//!
//! Every number that comes from the guest is untrusted: pointers and lengths are checked against the current size of
//! the memory, and nothing here panics.

use super::memory_slice::{part, part_mut, with_key};
use super::{GuestMut, GuestState, Host, host_functions};
use crate::machine::{At, Imports, Machine};
use crate::protocol::code::{ABSENT, STORE_FAILED};
use crate::store::StoreError;
use crate::store::reserved::is_valid;
use crate::tables::Clock;
use crate::value::{Error, ErrorKind};

/// "Too small, this many bytes are needed."
#[inline]
pub(super) fn too_small(needed: usize) -> i32 {
    i32::try_from(needed).ok().and_then(|n| ABSENT.checked_sub(n)).filter(|n| *n != STORE_FAILED).unwrap_or(ABSENT)
}

impl Imports for GuestState {
    #[inline]
    fn set(&mut self, memory: &mut [u8], table: i32, key: i32, key_len: i32, value: i32, value_len: i32) -> i32 {
        self.host.set(memory, table, key, key_len, value, value_len)
    }

    #[inline]
    fn get(&mut self, memory: &mut [u8], table: i32, key: i32, key_len: i32, value: i32, max_len: i32) -> i32 {
        self.host.get(memory, table, key, key_len, value, max_len)
    }

    #[inline]
    fn request(guest: &mut At<'_, Self>, request: i32, len: i32, answer: i32, max_len: i32) -> i32 {
        let Ok((memory, data)) = guest.memory_and_data() else {
            return ABSENT;
        };
        if Host::is_call(memory, request, len) {
            return host_functions::answer_call(&mut GuestMut::new(guest.reborrow()), request, len, answer, max_len);
        }
        data.imports.host.request(memory, request, len, answer, max_len)
    }

    fn delete(&mut self, memory: &mut [u8], table: i32, key: i32, key_len: i32) -> i32 {
        self.host.delete(memory, table, key, key_len)
    }

    fn size(&mut self, table: i32) -> i32 {
        self.host.size(table)
    }

    fn keys(&mut self, memory: &mut [u8], table: i32, keys: i32, max_len: i32) -> i32 {
        self.host.keys(memory, table, keys, max_len)
    }

    #[cfg(any(not(feature = "static"), feature = "hardened"))]
    fn check_limits(&mut self) -> Option<ErrorKind> {
        // Between runs there are none.
        self.host.run.resolver.as_ref()?;
        self.host.check_limits()
    }
}

impl Host {
    #[cold]
    /// Remembers why the store failed; what the guest is told.
    pub(super) fn failed(&mut self, error: StoreError) -> i32 {
        // It may have given up for that.
        self.holds_too_much();
        self.run.attempt.store_failure = Some(Error::from(error));
        self.failure_code()
    }

    /// How the guest is told that the store failed. It asks then whether it was a limit.
    pub(super) fn failure_code(&self) -> i32 {
        if self.revision >= 2 { STORE_FAILED } else { ABSENT }
    }

    /// `js_ext_table_set`
    #[inline]
    pub(crate) fn set(
        &mut self,
        memory: &mut [u8],
        table: i32,
        key_ptr: i32,
        key_len: i32,
        val_ptr: i32,
        val_len: i32,
    ) -> i32 {
        let table = table.cast_unsigned();
        if !is_valid(table) {
            return ABSENT;
        }
        if self.is_over() {
            return self.failure_code();
        }
        with_key(memory, key_ptr, key_len, |memory, key| match part(memory, val_ptr, val_len) {
            Some(value) => match self.tables.set_within(table, key, value, &self.run.limits.store) {
                Ok(true) if self.holds_too_much() => ABSENT,
                Ok(true) => {
                    let stored = &mut self.run.attempt.bytes_stored;
                    *stored = stored.saturating_add((key.len() + value.len()) as u64);
                    if self.waited_too_long() { ABSENT } else { 0 }
                }
                Ok(false) => {
                    self.end_by(ErrorKind::StoreLimit);
                    ABSENT
                }
                Err(error) => {
                    self.failed(error);
                    ABSENT
                }
            },
            None => ABSENT,
        })
        .unwrap_or(ABSENT)
    }

    /// `js_ext_table_get`
    #[inline]
    pub(crate) fn get(
        &mut self,
        memory: &mut [u8],
        table: i32,
        key_ptr: i32,
        key_len: i32,
        val_ptr: i32,
        max_len: i32,
    ) -> i32 {
        let table = table.cast_unsigned();
        if !is_valid(table) {
            return ABSENT;
        }
        if self.is_over() {
            return self.failure_code();
        }
        let result = with_key(memory, key_ptr, key_len, |memory, key| {
            let Some(room) = part_mut(memory, val_ptr, max_len) else {
                return Ok(ABSENT);
            };
            let mut answer = ABSENT;
            self.tables.get(table, key, &mut |value| match room.get_mut(..value.len()) {
                Some(place) => {
                    place.copy_from_slice(value);
                    answer = value.len() as i32;
                }
                None => answer = too_small(value.len()),
            })?;
            Ok(answer)
        });
        match result {
            Some(Ok(_)) if self.waited_too_long() => self.failure_code(),
            Some(Ok(_)) if self.holds_too_much() => STORE_FAILED,
            Some(Ok(answer)) => answer,
            Some(Err(error)) => self.failed(error),
            None => ABSENT,
        }
    }

    /// `js_ext_table_delete`
    pub(crate) fn delete(&mut self, memory: &mut [u8], table: i32, key_ptr: i32, key_len: i32) -> i32 {
        let table = table.cast_unsigned();
        if !is_valid(table) {
            return ABSENT;
        }
        if self.is_over() {
            return self.failure_code();
        }
        let result = with_key(memory, key_ptr, key_len, |_, key| {
            if !self.tables.exists(table)? {
                return Ok(ABSENT);
            }
            self.tables.delete(table, key);
            Ok(0)
        });
        match result {
            Some(Ok(_)) if self.waited_too_long() => self.failure_code(),
            Some(Ok(_)) if self.holds_too_much() => STORE_FAILED,
            Some(Ok(answer)) => answer,
            Some(Err(error)) => self.failed(error),
            None => ABSENT,
        }
    }

    /// `js_ext_table_size`
    pub(crate) fn size(&mut self, table: i32) -> i32 {
        let table = table.cast_unsigned();
        if !is_valid(table) || self.is_over() {
            return 0;
        }
        match self.tables.size(table) {
            Ok(n) => {
                // It is not asked about limits here; a run that goes on to its end fails then.
                self.waited_too_long();
                i32::try_from(n).unwrap_or(i32::MAX)
            }
            Err(error) => {
                self.run.attempt.unreported = Some(Error::from(error));
                0
            }
        }
    }

    /// `js_ext_table_keys`
    pub(crate) fn keys(&mut self, memory: &mut [u8], table: i32, buf_ptr: i32, max_len: i32) -> i32 {
        let table = table.cast_unsigned();
        if !is_valid(table) {
            return ABSENT;
        }
        if self.is_over() {
            return self.failure_code();
        }
        let Some(room) = part_mut(memory, buf_ptr, max_len) else {
            return ABSENT;
        };
        let mut needed = 0usize;
        let mut any = false;
        let mut clock = Clock::new(self.run.deadline.filter(|_| !self.run.attempt.undoing));
        let mut add = |bytes: &[u8]| {
            if let Some(place) = room.get_mut(needed..needed.saturating_add(bytes.len())) {
                place.copy_from_slice(bytes);
            }
            needed = needed.saturating_add(bytes.len());
        };
        let result = self.tables.keys(table, &mut |key| {
            if clock.is_over() {
                return;
            }
            if any {
                add(b"\n");
            }
            any = true;
            add(key.as_bytes());
        });
        let room = max_len.cast_unsigned() as usize;
        match result {
            Err(error) => self.failed(error),
            Ok(()) if clock.was_over() || self.waited_too_long() => {
                self.check_limits();
                self.failure_code()
            }
            Ok(()) if self.holds_too_much() => STORE_FAILED,
            Ok(()) if needed > room => too_small(needed),
            Ok(()) if any => i32::try_from(needed).unwrap_or(ABSENT),
            Ok(()) => match self.tables.exists(table) {
                Ok(true) => 0,
                Ok(false) => ABSENT,
                Err(error) => self.failed(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Tables;

    fn host() -> Host {
        Host { revision: 2, ..Host::new(Tables::in_memory()) }
    }

    #[test]
    fn the_contract() {
        let mut host = host();
        let mut memory = b"keyVALUE........................".to_vec();
        assert_eq!(host.get(&mut memory, 7, 0, 3, 8, 24), -1);
        assert_eq!(host.delete(&mut memory, 7, 0, 3), -1);
        assert_eq!(host.keys(&mut memory, 7, 8, 24), -1);
        assert_eq!(host.size(7), 0);
        assert_eq!(host.set(&mut memory, 7, 0, 3, 3, 5), 0);
        assert_eq!(host.set(&mut memory, 7, 1, 2, 3, 0), 0);
        assert_eq!(host.size(7), 2);
        assert_eq!(host.get(&mut memory, 7, 0, 3, 8, 24), 5);
        assert_eq!(&memory[8..13], b"VALUE");
        assert_eq!(host.get(&mut memory, 7, 1, 2, 8, 0), 0);
        assert_eq!(host.get(&mut memory, 7, 0, 3, 8, 4), -6);
        assert_eq!(host.keys(&mut memory, 7, 8, 24), 6);
        assert_eq!(&memory[8..14], b"key\ney");
        assert_eq!(host.keys(&mut memory, 7, 8, 5), -7);
        assert_eq!(host.delete(&mut memory, 7, 0, 3), 0);
        assert_eq!(host.delete(&mut memory, 7, 0, 3), 0);
        assert_eq!(host.delete(&mut memory, 7, 1, 2), 0);
        assert_eq!(host.size(7), 0);
        assert_eq!(host.keys(&mut memory, 7, 8, 0), 0);
    }

    #[test]
    fn pointers_are_checked() {
        let mut host = host();
        let mut memory = vec![b'a'; 100];
        for (ptr, len) in [(99, 2), (100, 1), (-1, 1), (0, -1), (i32::MIN, 1), (1, i32::MAX), (-1, -1)] {
            assert_eq!(host.set(&mut memory, 3, ptr, len, 0, 1), -1);
            assert_eq!(host.set(&mut memory, 3, 0, 1, ptr, len), -1);
            assert_eq!(host.get(&mut memory, 3, ptr, len, 0, 1), -1);
            assert_eq!(host.get(&mut memory, 3, 0, 1, ptr, len), -1);
            assert_eq!(host.request(&mut memory, ptr, len, 0, 1), -1);
            assert_eq!(host.delete(&mut memory, 3, ptr, len), -1);
            assert_eq!(host.keys(&mut memory, 3, ptr, len), -1);
        }
        assert_eq!(host.size(3), 0);
        assert_eq!(host.set(&mut memory, 3, 100, 0, 100, 0), 0, "an empty part at the very end is inside");
    }

    #[test]
    fn odd_ids_and_keys_are_refused() {
        let mut host = host();
        let mut memory = b"\xff\xfe..".to_vec();
        for id in [0, -1] {
            assert_eq!(host.set(&mut memory, id, 2, 1, 2, 1), -1);
            assert_eq!(host.delete(&mut memory, id, 2, 1), -1);
            assert_eq!(host.keys(&mut memory, id, 2, 1), -1);
            assert_eq!(host.size(id), 0);
        }
        assert_eq!(host.set(&mut memory, 3, 0, 2, 2, 1), -1, "keys are UTF-8");
    }
}
