//! The host's side of the five functions that the guest imports. The contract is in `docs/HOST_FUNCTION_IMPORTS.md`.
//!
//! Every number that comes from the guest is untrusted: pointers and lengths are checked against the memory of this moment, and
//! nothing here panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::config::{Check, PrintSink};
use crate::control::Control;
use crate::functions::Functions;
use crate::limits::{GRANT, Limits};
use crate::modules::{self, ModuleResolver};
use crate::sandbox::SandboxLinks;
use crate::store::{StoreError, StoreResult};
use crate::tables::{Tables, is_valid};
use crate::value::Value;
use crate::virtual_time::VirtualTime;
use crate::{Error, ErrorKind};

/// No such table or key, no such operation, a pointer that points nowhere.
const ABSENT: i32 = -1;
/// The store failed, for a guest of revision 2.
const STORE_FAILED: i32 = i32::MIN;

/// How a portion of a table's entries begins.
const MORE_PORTIONS: u8 = 0;
const LAST_PORTION: u8 = 1;

/// Keys up to this length are copied to the stack.
const SHORT_KEY: usize = 64;

/// Requests to the host, as calls to `js_ext_table_get` with table id 0.
mod operation {
    pub(super) const FETCH: u8 = 0x00;
    pub(super) const CALL: u8 = 0x01;
    pub(super) const CLOCK: u8 = 0x02;
    pub(super) const SEED: u8 = 0x03;
    pub(super) const PRINT: u8 = 0x04;
    pub(super) const MODULE: u8 = 0x05;
    pub(super) const LIMITS: u8 = 0x06;
    pub(super) const ENTRIES: u8 = 0x07;
    pub(super) const STORE_FAILURE: u8 = 0x08;
}

/// What the five functions work on, and what they need to know of the run.
pub(crate) struct Host {
    pub(crate) tables: Tables,
    /// The revision of the contract that the guest speaks.
    pub(crate) revision: u32,
    /// Why the store failed last.
    pub(crate) failure: Option<String>,
    /// A failure that could not be reported to the guest: the run must not succeed.
    pub(crate) doomed: Option<Error>,
    pub(crate) functions: Functions,
    /// What the guest told of last.
    instructions: u64,
    /// The instructions that runs inside this one may use, the outer ones first.
    pub(crate) shares: Vec<Share>,
    /// Errors that host functions gave in this run, by number from 1.
    errors: Vec<Error>,
    pub(crate) print: Option<PrintSink>,
    pub(crate) check: Option<Check>,
    pub(crate) modules: Option<Arc<dyn ModuleResolver>>,
    pub(crate) control: Arc<Control>,
    pub(crate) virtual_time: Option<VirtualTime>,
    /// Of the present run.
    pub(crate) limits: Limits,
    /// When the present run began.
    pub(crate) started: Option<Instant>,
    pub(crate) deadline: Option<Instant>,
    /// The limit that ends the present run.
    pub(crate) refused: Option<ErrorKind>,
    pub(crate) host_calls: u64,
    /// Whether a host function was called that must not be called again for the same run.
    pub(crate) called_unrepeatable: bool,
    pub(crate) bytes_stored: u64,
    /// How many host functions run inside each other.
    pub(crate) nesting: u32,
    /// How values of the present run are tied to the sandbox.
    pub(crate) links: Option<SandboxLinks>,
    /// Whether the instance can wait for futures.
    pub(crate) waits: bool,
    #[cfg(feature = "async")]
    pub(crate) pending: Option<crate::functions::Pending>,
    /// For encoding, kept for its room.
    pub(crate) scratch: Vec<u8>,
    /// For arguments and results of host functions, kept for its room.
    pub(crate) values: Vec<Value>,
    /// An answer that did not fit.
    answer: Vec<u8>,
}

/// The part of memory that the guest names.
#[inline]
pub(crate) fn part(memory: &[u8], ptr: i32, len: i32) -> Option<&[u8]> {
    let start = ptr.cast_unsigned() as usize;
    memory.get(start..start.checked_add(len.cast_unsigned() as usize)?)
}

#[inline]
fn part_mut(memory: &mut [u8], ptr: i32, len: i32) -> Option<&mut [u8]> {
    let start = ptr.cast_unsigned() as usize;
    memory.get_mut(start..start.checked_add(len.cast_unsigned() as usize)?)
}

/// "Too small, this many bytes are needed."
#[inline]
fn too_small(needed: usize) -> i32 {
    i32::try_from(needed).ok().and_then(|n| ABSENT.checked_sub(n)).filter(|n| *n != STORE_FAILED).unwrap_or(ABSENT)
}

/// Hands the key to `f`, copied out of memory. `None` when it does not lie in memory or is not UTF-8.
#[inline]
fn with_key<T>(memory: &mut [u8], ptr: i32, len: i32, f: impl FnOnce(&mut [u8], &str) -> T) -> Option<T> {
    let key = part(memory, ptr, len)?;
    let mut short = [0; SHORT_KEY];
    if let Some(copy) = short.get_mut(..key.len()) {
        copy.copy_from_slice(key);
        return Some(f(memory, std::str::from_utf8(copy).ok()?));
    }
    let long = std::str::from_utf8(key).ok()?.to_owned();
    Some(f(memory, &long))
}

/// How many instructions a run inside another one may use.
pub(crate) struct Share {
    pub(crate) instructions: u64,
    /// From where they count: from the guest's next question on.
    pub(crate) from: Option<u64>,
}

impl Host {
    pub(crate) fn new(tables: Tables, revision: u32, control: Arc<Control>) -> Self {
        Host {
            tables,
            revision,
            failure: None,
            doomed: None,
            functions: Functions::default(),
            instructions: 0,
            shares: Vec::new(),
            errors: Vec::new(),
            print: None,
            check: None,
            modules: None,
            control,
            virtual_time: None,
            limits: Limits::default(),
            started: None,
            deadline: None,
            refused: None,
            host_calls: 0,
            called_unrepeatable: false,
            bytes_stored: 0,
            nesting: 0,
            links: None,
            waits: false,
            #[cfg(feature = "async")]
            pending: None,
            scratch: Vec::new(),
            values: Vec::new(),
            answer: Vec::new(),
        }
    }

    /// Starts a run.
    #[inline]
    pub(crate) fn begin(&mut self, now: Instant, limits: &Limits) {
        self.failure = None;
        self.doomed = None;
        self.refused = None;
        self.started = Some(now);
        self.deadline = limits.timeout.and_then(|timeout| now.checked_add(timeout));
        self.limits = *limits;
        self.host_calls = 0;
        self.called_unrepeatable = false;
        self.bytes_stored = 0;
        self.nesting = 0;
        self.instructions = 0;
        self.shares.clear();
        self.control.begin();
        if !self.answer.is_empty() {
            self.answer = Vec::new();
        }
    }

    /// Ends a run.
    #[inline]
    pub(crate) fn end(&mut self, ticks: u64) {
        self.links = None;
        // What a host function failed with may hold on to the sandbox.
        if !self.errors.is_empty() {
            self.errors = Vec::new();
        }
        if let Some(time) = &mut self.virtual_time {
            time.pass(ticks);
        }
        if self.scratch.capacity() > 1 << 16 {
            self.scratch = Vec::new();
        }
    }

    /// Notes that a limit ends the run.
    pub(crate) fn refuse(&mut self, kind: ErrorKind) -> ErrorKind {
        *self.refused.get_or_insert(kind)
    }

    /// The limit that was passed, apart from instructions.
    #[inline]
    pub(crate) fn passed_limit(&mut self) -> Option<ErrorKind> {
        if self.refused.is_some() {
            return self.refused;
        }
        if self.control.is_interrupted() {
            return Some(self.refuse(ErrorKind::Interrupted));
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Some(self.refuse(ErrorKind::Timeout));
        }
        None
    }

    /// How many instructions may follow those that the guest told of last.
    pub(crate) fn instructions_left(&mut self) -> u64 {
        let used = self.instructions;
        let mut left = self.limits.instructions.saturating_sub(used);
        for share in &mut self.shares {
            let from = *share.from.get_or_insert(used);
            left = left.min(share.instructions.saturating_sub(used.saturating_sub(from)));
        }
        left
    }

    /// The guest has used up what it was granted: the limit that was passed or 0, and what is granted now.
    fn grant(&mut self, payload: &[u8]) -> Option<[u8; 8]> {
        let used = u64::from_le_bytes(payload.try_into().ok()?);
        self.instructions = used;
        let left = self.instructions_left();
        if let Some(check) = &self.check
            && !catch_unwind(AssertUnwindSafe(|| check.lock().unwrap_or_else(PoisonError::into_inner)()))
                .unwrap_or(false)
        {
            self.control.interrupt();
        }
        let mut kind = self.passed_limit();
        if kind.is_none() && left == 0 {
            kind = Some(self.refuse(ErrorKind::InstructionLimit));
        }
        let kind = kind.map_or(0, |kind| u32::from(kind.number()));
        let ticks = u32::try_from(left).unwrap_or(u32::MAX).min(GRANT.cast_unsigned());
        let answer = u64::from(kind) | u64::from(ticks) << 32;
        Some(answer.to_le_bytes())
    }

    /// Keeps an error that a host function gave; its number.
    pub(crate) fn keep_error(&mut self, error: Error) -> u32 {
        // A script that collects errors must not collect the host's memory.
        const MOST: usize = 1000;
        if self.errors.len() >= MOST {
            self.errors.clear();
        }
        self.errors.push(error);
        self.errors.len() as u32
    }

    /// The error with this number.
    pub(crate) fn take_error(&mut self, number: i64) -> Option<Error> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        self.errors.get(at).cloned()
    }

    #[cold]
    fn failed(&mut self, error: StoreError) -> i32 {
        self.failure = Some(error.to_string());
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
        with_key(memory, key_ptr, key_len, |memory, key| match part(memory, val_ptr, val_len) {
            Some(value) => match self.tables.set_within(table, key, value, &self.limits.store) {
                Ok(true) => {
                    self.bytes_stored += (key.len() + value.len()) as u64;
                    0
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
        let result = with_key(memory, key_ptr, key_len, |_, key| {
            if !self.tables.exists(table)? {
                return Ok(ABSENT);
            }
            self.tables.delete(table, key);
            Ok(0)
        });
        match result {
            Some(Ok(answer)) => answer,
            Some(Err(error)) => self.failed(error),
            None => ABSENT,
        }
    }

    /// `js_ext_table_size`
    pub(crate) fn size(&mut self, table: i32) -> i32 {
        let table = table.cast_unsigned();
        if !is_valid(table) {
            return 0;
        }
        match self.tables.size(table) {
            Ok(n) => i32::try_from(n).unwrap_or(i32::MAX),
            Err(error) => {
                self.failed(error);
                let message = self.failure.clone().unwrap_or_default();
                self.doomed = Some(Error::new(ErrorKind::Store, message));
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
        let Some(room) = part_mut(memory, buf_ptr, max_len) else {
            return ABSENT;
        };
        let mut needed = 0usize;
        let mut any = false;
        let mut add = |bytes: &[u8]| {
            if let Some(place) = room.get_mut(needed..needed.saturating_add(bytes.len())) {
                place.copy_from_slice(bytes);
            }
            needed = needed.saturating_add(bytes.len());
        };
        let result = self.tables.keys(table, &mut |key| {
            if any {
                add(b"\n");
            }
            any = true;
            add(key.as_bytes());
        });
        let room = max_len.cast_unsigned() as usize;
        match result {
            Err(error) => self.failed(error),
            Ok(()) if needed > room => too_small(needed),
            Ok(()) if any => i32::try_from(needed).unwrap_or(ABSENT),
            Ok(()) => match self.tables.exists(table) {
                Ok(true) => 0,
                Ok(false) => ABSENT,
                Err(error) => self.failed(error),
            },
        }
    }

    /// Whether a request is a call of a host function.
    #[inline]
    pub(crate) fn is_call(memory: &[u8], ptr: i32, len: i32) -> bool {
        part(memory, ptr, len).is_some_and(|request| request.first() == Some(&operation::CALL))
    }

    /// A request over the channel that is no call of a function.
    pub(crate) fn request(&mut self, memory: &mut [u8], ptr: i32, len: i32, answer_ptr: i32, max_len: i32) -> i32 {
        let Some((operation, payload)) = part(memory, ptr, len).and_then(<[u8]>::split_first) else {
            return ABSENT;
        };
        let mut answer = match *operation {
            operation::FETCH => std::mem::take(&mut self.answer),
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
                    let print = || print.lock().unwrap_or_else(PoisonError::into_inner)(payload);
                    if catch_unwind(AssertUnwindSafe(print)).is_err() {
                        self.doomed = Some(Error::host("the function that takes printed text panicked"));
                    }
                    Vec::new()
                }
                None => return ABSENT,
            },
            operation::MODULE => match &self.modules {
                Some(resolver) => match catch_unwind(AssertUnwindSafe(|| modules::answer(&**resolver, payload))) {
                    Ok(answer) => answer,
                    Err(_) => return ABSENT,
                },
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
                Some(Ok(answer)) => answer,
                Some(Err(error)) => return self.failed(error),
                None => return ABSENT,
            },
            operation::STORE_FAILURE => self.failure.as_deref().unwrap_or_default().as_bytes().to_vec(),
            _ => return ABSENT,
        };
        self.deliver(memory, &mut answer, answer_ptr, max_len)
    }

    /// A portion of a table's entries, empty when the key after which they are to come is not there. `None` for a malformed request.
    fn entries(&mut self, payload: &[u8]) -> Option<StoreResult<Vec<u8>>> {
        /// An entry that is larger comes without its value, which is read by itself.
        const LARGEST: usize = 4096;
        const MOST: usize = 1 << 16;
        const KEY_ONLY: u32 = u32::MAX;
        let (table, rest) = payload.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (table, count) = (u32::from_le_bytes(*table), u32::from_le_bytes(*count));
        let after = match rest.split_first()? {
            (0, []) => None,
            (1, key) => Some(std::str::from_utf8(key).ok()?),
            _ => return None,
        };
        if !is_valid(table) {
            return None;
        }
        let mut answer = vec![LAST_PORTION];
        let mut left = count.max(1);
        let result = self.tables.scan_after(table, after, &mut |key, value| {
            let size = 8 + key.len() + value.map_or(0, <[u8]>::len);
            let room = MOST.saturating_sub(answer.len());
            if left == 0 || (8 + key.len() > room && answer.len() > 1) {
                if let Some(first) = answer.first_mut() {
                    *first = MORE_PORTIONS;
                }
                return false;
            }
            left -= 1;
            answer.extend_from_slice(&(key.len() as u32).to_le_bytes());
            let value = value.filter(|_| size <= room && size <= LARGEST);
            answer.extend_from_slice(&value.map_or(KEY_ONLY, |value| value.len() as u32).to_le_bytes());
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
        self.answer = answer;
        too_small(self.answer.len())
    }

    fn seed(&mut self) -> Option<[u8; 16]> {
        if let Some(time) = &mut self.virtual_time {
            return Some(time.seed());
        }
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).ok()?;
        Some(seed)
    }

    fn clock(&self, payload: &[u8]) -> Option<i64> {
        let (which, ticks) = payload.split_first()?;
        if let Some(time) = &self.virtual_time {
            let ticks = ticks.first_chunk().copied().map_or(0, u64::from_le_bytes);
            return time.read(*which, ticks);
        }
        match which {
            0 => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_nanos()).ok(),
                Err(before) => i64::try_from(before.duration().as_nanos()).ok().map(|n| -n),
            },
            1 => i64::try_from(self.started?.elapsed().as_nanos()).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
