//! Requests to the host, as calls of `js_ext_table_get` with table id 0.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{SystemTime, UNIX_EPOCH};

use super::imports::too_small;
use super::memory_slice::{part, part_mut};
use super::{Host, classes};
use crate::guest::modules;
use crate::protocol::code::ABSENT;
use crate::protocol::{LARGEST_ENTRY, NO_VALUE, PORTION_SIZE, clock, operation, portion};
use crate::store::StoreResult;
use crate::store::reserved::is_valid;
use crate::util::{ByteReader, lock};
use crate::value::{Error, Value};

impl Host {
    /// Whether a request is a call of a host function.
    #[inline]
    pub(crate) fn is_call(memory: &[u8], ptr: i32, len: i32) -> bool {
        part(memory, ptr, len)
            .is_some_and(|request| matches!(request.first(), Some(&(operation::CALL | operation::REQUEST))))
    }

    /// A request over the channel that is no call of a function.
    pub(crate) fn request(&mut self, memory: &mut [u8], ptr: i32, len: i32, answer_ptr: i32, max_len: i32) -> i32 {
        let Some((operation, payload)) = part(memory, ptr, len).and_then(<[u8]>::split_first) else {
            return ABSENT;
        };
        // Nothing outside is begun any more once the run has to end.
        if self.is_over() && matches!(*operation, operation::PRINT | operation::MODULE | operation::ENTRIES) {
            return if *operation == operation::ENTRIES { self.failure_code() } else { ABSENT };
        }
        let mut answer = match *operation {
            operation::FETCH => std::mem::take(&mut self.run.attempt.answer),
            operation::DROP => match payload.first_chunk() {
                Some(number) => {
                    self.run.attempt.requests().drop_request(u32::from_le_bytes(*number));
                    return 0;
                }
                None => return ABSENT,
            },
            operation::RELEASE => {
                let mut reader = ByteReader::new(payload);
                let (Some(number), Some(times)) = (reader.u32(), reader.u32()) else { return ABSENT };
                self.gone.extend(self.values.release(number, times));
                return 0;
            }
            operation::CLASS => {
                let object = ByteReader::new(payload).u32();
                match object.and_then(|object| classes::describe(&self.values, object)) {
                    Some(description) => description,
                    None => return ABSENT,
                }
            }
            operation::CLOCK => match self.clock(payload) {
                Some(nanoseconds) => nanoseconds.to_le_bytes().to_vec(),
                None => return ABSENT,
            },
            operation::SEED => match self.seed() {
                Some(seed) => seed.to_vec(),
                None => return ABSENT,
            },
            operation::PRINT => match &self.print {
                Some(print) => {
                    // A fork has the same sink.
                    let print = || lock(print)(payload);
                    if catch_unwind(AssertUnwindSafe(print)).is_err() {
                        self.run.attempt.unreported =
                            Some(Error::host("the function that takes printed text panicked"));
                    }
                    Vec::new()
                }
                None => return ABSENT,
            },
            operation::MODULE => match self.modules.clone() {
                Some(resolver) => {
                    let answer = modules::answer(&*resolver, payload).unwrap_or_else(|error| {
                        let answer = modules::failed(&error);
                        self.keep_module_failure(payload, error);
                        answer
                    });
                    if self.check_limits_cheaply().is_some() {
                        return ABSENT;
                    }
                    answer
                }
                None => return ABSENT,
            },
            operation::LIMITS => match self.grant(payload) {
                Some(answer) => {
                    let Some(Some(place)) = part_mut(memory, answer_ptr, max_len).map(<[u8]>::first_chunk_mut) else {
                        return ABSENT;
                    };
                    *place = answer;
                    return answer.len() as i32;
                }
                None => return ABSENT,
            },
            operation::ENTRIES => match self.entries(payload) {
                Some(Ok(_)) if self.waited_too_long() => return self.failure_code(),
                Some(Ok(answer)) => answer,
                Some(Err(error)) => return self.failed(error),
                None => return ABSENT,
            },
            operation::STORE_FAILURE => match self.run.attempt.store_failure.as_ref().map(Error::lua_value) {
                Some(Value::String(text)) => text.as_bytes().to_vec(),
                _ => Vec::new(),
            },
            _ => return ABSENT,
        };
        self.deliver(memory, &mut answer, answer_ptr, max_len)
    }

    /// A portion of a table's entries, empty when the key after which they are to come is not there. `None` for a
    /// malformed request.
    fn entries(&mut self, payload: &[u8]) -> Option<StoreResult<Vec<u8>>> {
        let mut reader = ByteReader::new(payload);
        let (table, count) = (reader.u32()?, reader.u32()?);
        let after = match reader.rest.split_first()? {
            (0, []) => None,
            (1, key) => Some(std::str::from_utf8(key).ok()?),
            _ => return None,
        };
        if !is_valid(table) {
            return None;
        }
        let mut answer = vec![portion::LAST];
        let mut left = count.max(1);
        let result = self.tables.scan_after(table, after, &mut |key, value| {
            let size = 8 + key.len() + value.map_or(0, <[u8]>::len);
            let room = (PORTION_SIZE as usize).saturating_sub(answer.len());
            if left == 0 || (8 + key.len() > room && answer.len() > 1) {
                if let Some(first) = answer.first_mut() {
                    *first = portion::MORE;
                }
                return false;
            }
            left -= 1;
            answer.extend_from_slice(&(key.len() as u32).to_le_bytes());
            let value = value.filter(|_| size <= room && size <= LARGEST_ENTRY as usize);
            answer.extend_from_slice(&value.map_or(NO_VALUE, |value| value.len() as u32).to_le_bytes());
            answer.extend_from_slice(key.as_bytes());
            answer.extend_from_slice(value.unwrap_or_default());
            true
        });
        Some(result.map(|known| if known { answer } else { Vec::new() }))
    }

    /// Writes an answer to memory, or keeps it when it does not fit.
    #[inline]
    pub(crate) fn deliver(&mut self, memory: &mut [u8], answer: &mut Vec<u8>, ptr: i32, max_len: i32) -> i32 {
        let Some(room) = part_mut(memory, ptr, max_len) else {
            return ABSENT;
        };
        match room.get_mut(..answer.len()) {
            Some(place) => {
                place.copy_from_slice(answer);
                answer.len() as i32
            }
            None => self.keep(std::mem::take(answer)),
        }
    }

    /// Keeps an answer until it is fetched.
    pub(crate) fn keep(&mut self, answer: Vec<u8>) -> i32 {
        self.run.attempt.answer = answer;
        too_small(self.run.attempt.answer.len())
    }

    fn seed(&mut self) -> Option<[u8; 16]> {
        if let Some(time) = &mut self.virtual_clock {
            return Some(time.seed());
        }
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).ok()?;
        Some(seed)
    }

    fn clock(&self, payload: &[u8]) -> Option<i64> {
        let (which, ticks) = payload.split_first()?;
        if let Some(time) = &self.virtual_clock {
            let ticks = ticks.first_chunk().copied().map_or(0, u64::from_le_bytes);
            return time.read(*which, ticks);
        }
        match *which {
            clock::WALL => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_nanos()).ok(),
                Err(before) => i64::try_from(before.duration().as_nanos()).ok().map(|n| -n),
            },
            clock::PROCESSOR => i64::try_from(self.run.started?.elapsed().as_nanos()).ok(),
            _ => None,
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
    fn entries_come_in_portions() {
        let mut host = host();
        for (key, len) in [("a", 3), ("b", 5000), ("c", 0)] {
            host.tables.set(7, key, &vec![b'x'; len]);
        }
        let ask = |host: &mut Host, payload: &[u8]| host.entries(payload).map(Result::unwrap);
        let first = ask(&mut host, &[7, 0, 0, 0, 2, 0, 0, 0, 0]).unwrap();
        assert_eq!(first, b"\0\x01\0\0\0\x03\0\0\0axxx\x01\0\0\0\xff\xff\xff\xffb");
        assert_eq!(ask(&mut host, b"\x07\0\0\0\x02\0\0\0\x01b").unwrap(), b"\x01\x01\0\0\0\0\0\0\0c");
        assert_eq!(ask(&mut host, b"\x07\0\0\0\x02\0\0\0\x01c").unwrap(), b"\x01");
        assert_eq!(ask(&mut host, b"\x07\0\0\0\x02\0\0\0\x01d").unwrap(), b"");
        assert_eq!(ask(&mut host, &[8, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap(), b"\x01");
        for broken in
            [&b""[..], &[7, 0, 0, 0], &[7, 0, 0, 0, 1, 0, 0, 0], &[7, 0, 0, 0, 1, 0, 0, 0, 2], &[0; 9], &[255; 4]]
        {
            assert_eq!(ask(&mut host, broken), None);
        }
    }

    #[test]
    fn an_answer_is_kept_until_it_is_fetched() {
        let mut host = host();
        let mut memory = vec![0; 64];
        memory[0] = operation::SEED;
        memory[1] = operation::FETCH;
        assert_eq!(host.request(&mut memory, 0, 1, 32, 4), -17);
        assert_eq!(host.request(&mut memory, 1, 1, 32, 8), -17);
        assert_eq!(host.request(&mut memory, 1, 1, 32, 16), 16);
        assert_eq!(host.request(&mut memory, 1, 1, 32, 16), 0);
        memory[0] = 0x77;
        assert_eq!(host.request(&mut memory, 0, 1, 32, 16), -1);
    }
}
