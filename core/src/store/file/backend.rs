//! A file that is only written to once it is known that it is ours, that it may be written to, and that this process
//! opened it.

use std::fmt;
use std::fs::File;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use crate::util::{lock, process};

/// What a process hears that did not open the file itself.
pub(super) const FORKED: &str =
    "it was opened before a fork, by another process; each process has to open it by itself, one at a time";

/// So much of the file is redb's header, which every commit that comes to the disk changes.
const HEAD: usize = 320;

type Head = [u8; HEAD];

/// What is said of a file that is not where it was, or not what it was.
pub(super) const REPLACED: &str = "it was deleted, moved or replaced while it was open; open it again";

type Result<T> = std::result::Result<T, BackendError>;
/// What redb's version 4 wants of a backend's input and output.
type IoResult<T> = std::io::Result<T>;

/// A file for redb. Until it is accepted, writes go to memory.
#[derive(Clone)]
pub(super) struct Backend(Arc<BackendState>);

struct BackendState {
    file: FileBackend,
    /// Whether others may read the file at the same time.
    shared: bool,
    accepted: AtomicBool,
    pending: Mutex<Pending>,
    /// How long the file has to be, once it was accepted. Locked while its length changes.
    len: Mutex<u64>,
    /// What the file begins with, as it was read or written last.
    head: Mutex<Head>,
    /// Somebody else has written to the file: nothing of ours belongs there any more.
    foreign: AtomicBool,
    /// The process that opened it.
    process: u32,
}

/// What would have been done to the file.
#[derive(Default)]
struct Pending {
    steps: Vec<Step>,
    /// The length that the file would have.
    len: Option<u64>,
}

enum Step {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl Backend {
    /// `shared`: nothing will be written.
    pub(super) fn new(file: File, shared: bool) -> std::result::Result<Self, redb::DatabaseError> {
        let file = FileBackend::new(file)?;
        Ok(Backend(Arc::new(BackendState {
            head: Mutex::new(read_head(&file).map_err(redb::StorageError::Io)?),
            foreign: AtomicBool::new(false),
            file,
            shared,
            accepted: AtomicBool::new(false),
            pending: Mutex::default(),
            len: Mutex::new(0),
            process: process::id(),
        })))
    }

    /// The file; an error in a process that came from a fork. The two would not know of each other's pages.
    fn own(&self) -> IoResult<&FileBackend> {
        if self.0.process == process::id() { Ok(&self.0.file) } else { Err(std::io::Error::other(FORKED)) }
    }

    /// Whether the file, of which this length was seen, is shorter than it has to be: somebody else has cut it off.
    pub(super) fn is_cut_off(&self, seen: u64) -> IoResult<bool> {
        let len = self.least_len();
        // Another thread may have made it longer or shorter since.
        Ok(seen < *len && self.0.file.len()? < *len)
    }

    fn least_len(&self) -> MutexGuard<'_, u64> {
        lock(&self.0.len)
    }

    /// The file, unless somebody else has written to it.
    fn file(&self) -> IoResult<&FileBackend> {
        if self.0.foreign.load(Ordering::Acquire) { Err(std::io::Error::other(REPLACED)) } else { self.own() }
    }

    fn head(&self) -> MutexGuard<'_, Head> {
        lock(&self.0.head)
    }

    /// Fails when somebody else has written to the file: it does not begin with what we know. From then on nothing is
    /// read or written.
    pub(super) fn check_head(&self) -> IoResult<()> {
        let head = self.head();
        if *head != read_head(self.file()?)? {
            self.0.foreign.store(true, Ordering::Release);
            return Err(std::io::Error::other(REPLACED));
        }
        Ok(())
    }

    /// Writes to the file, and remembers what it begins with then.
    fn write_through(&self, offset: u64, data: &[u8]) -> IoResult<()> {
        let file = self.file()?;
        if offset >= HEAD as u64 {
            return file.write(offset, data);
        }
        let mut head = self.head();
        let written = file.write(offset, data);
        if written.is_ok() {
            overlay(&mut *head, 0, data, offset);
        } else if let Ok(now) = read_head(file) {
            // A part of it may be there.
            *head = now;
        }
        written
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        lock(&self.0.pending)
    }

    /// Does what was put off; from now on everything goes to the file.
    pub(super) fn accept(&self) -> IoResult<()> {
        let mut pending = self.pending();
        for step in std::mem::take(&mut *pending).steps {
            match step {
                Step::Write(offset, bytes) => self.write_through(offset, &bytes)?,
                Step::SetLen(len) => self.0.file.set_len(len)?,
                Step::Sync => self.0.file.sync_data()?,
            }
        }
        *self.least_len() = self.0.file.len()?;
        self.0.accepted.store(true, Ordering::Release);
        Ok(())
    }

    /// What was put off, while it may still be.
    fn undecided(&self) -> Option<MutexGuard<'_, Pending>> {
        if self.0.accepted.load(Ordering::Acquire) {
            return None;
        }
        let pending = self.pending();
        // It may have been accepted while we waited.
        (!self.0.accepted.load(Ordering::Acquire)).then_some(pending)
    }
}

fn read_head(file: &FileBackend) -> IoResult<Head> {
    let mut head = [0; HEAD];
    if file.read(0, &mut head).is_ok() {
        return Ok(head);
    }
    let len = file.len()?.min(HEAD as u64) as usize;
    head = [0; HEAD];
    if let Some(part) = head.get_mut(..len) {
        file.read(0, part)?;
    }
    Ok(head)
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("accepted", &self.0.accepted).finish_non_exhaustive()
    }
}

/// Copies the part of `source`, which is at `at`, that lies in `target`, which is at `offset`.
fn overlay(target: &mut [u8], offset: u64, source: &[u8], at: u64) {
    let start = offset.max(at);
    let end = (offset + target.len() as u64).min(at + source.len() as u64);
    if start >= end {
        return;
    }
    let part = |base: u64| (start - base) as usize..(end - base) as usize;
    if let (Some(target), Some(source)) = (target.get_mut(part(offset)), source.get(part(at))) {
        target.copy_from_slice(source);
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> IoResult<u64> {
        match self.undecided().and_then(|pending| pending.len) {
            Some(len) => Ok(len),
            None => self.file()?.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> IoResult<()> {
        let Some(pending) = self.undecided() else {
            return self.file()?.read(offset, out);
        };
        let end = offset.saturating_add(out.len() as u64);
        let len = match pending.len {
            Some(len) => len,
            None => self.0.file.len()?,
        };
        if end > len {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        // What the file has not is zero until it is written.
        out.fill(0);
        let there = self.0.file.len()?.min(end).saturating_sub(offset) as usize;
        if let Some(part) = out.get_mut(..there) {
            self.0.file.read(offset, part)?;
        }
        for step in &pending.steps {
            match step {
                Step::Write(at, bytes) => overlay(out, offset, bytes, *at),
                Step::SetLen(len) => {
                    let kept = len.saturating_sub(offset).min(out.len() as u64) as usize;
                    if let Some(cut) = out.get_mut(kept..) {
                        cut.fill(0);
                    }
                }
                Step::Sync => {}
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> IoResult<()> {
        match self.undecided() {
            Some(mut pending) => {
                pending.len = Some(len);
                pending.steps.push(Step::SetLen(len));
                Ok(())
            }
            None => {
                let mut least = self.least_len();
                self.file()?.set_len(len)?;
                *least = len;
                Ok(())
            }
        }
    }

    fn sync_data(&self) -> IoResult<()> {
        match self.undecided() {
            Some(mut pending) => {
                pending.steps.push(Step::Sync);
                Ok(())
            }
            None => self.file()?.sync_data(),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> IoResult<()> {
        let Some(mut pending) = self.undecided() else {
            self.write_through(offset, data)?;
            let mut least = self.least_len();
            *least = offset.saturating_add(data.len() as u64).max(*least);
            return Ok(());
        };
        let len = match pending.len {
            Some(len) => len,
            None => self.0.file.len()?,
        };
        pending.len = Some(len.max(offset.saturating_add(data.len() as u64)));
        pending.steps.push(Step::Write(offset, data.to_vec()));
        Ok(())
    }

    fn close(&self) -> IoResult<()> {
        self.own()?.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool> {
        if self.0.shared {
            return self.0.file.try_lock_shared_range(start, end);
        }
        self.0.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool> {
        self.0.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<()> {
        self.0.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<()> {
        self.0.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<()> {
        self.0.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool> {
        self.0.file.query_lock_range(start, end)
    }
}
