//! The five functions that the guest imports.

use super::memory::{part, part_mut, with_key};
use super::{ABSENT, Host, STORE_FAILED, too_small};
use crate::ErrorKind;
use crate::store::StoreError;
use crate::stored::store_error;
use crate::tables::{Clock, is_valid};

impl Host {
    #[cold]
    /// Remembers why the store failed; what the guest is told.
    pub(super) fn failed(&mut self, error: StoreError) -> i32 {
        // It may have given up for that.
        self.holds_too_much();
        self.failure = Some(store_error(error));
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
            Some(value) => match self.tables.set_within(table, key, value, &self.limits.store) {
                Ok(true) if self.holds_too_much() => ABSENT,
                Ok(true) => {
                    self.bytes_stored += (key.len() + value.len()) as u64;
                    if self.waited_too_long() { ABSENT } else { 0 }
                }
                Ok(false) => {
                    self.refuse(ErrorKind::StoreLimit);
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
                self.doomed = Some(store_error(error));
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
        let mut clock = Clock::new(self.deadline.filter(|_| !self.taking_back));
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
                self.passed_limit();
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
    use std::sync::Arc;

    use super::*;
    use crate::tables::Tables;

    fn host() -> Host {
        Host::new(Tables::in_memory(), 2, Arc::default())
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
