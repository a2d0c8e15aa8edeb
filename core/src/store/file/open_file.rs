//! One open file, shared by all handles in this process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak};

use redb::{CommitError, ReadableDatabase, StorageError, TableError, TransactionError};

use super::backend::{FORKED, REPLACED};
use super::commit::Unsynced;
use super::format::{self, ENTRIES, Entries};
use super::identity::{Identity, Look, identity_of};
use super::opening::{Opened, Wanted, absolute, check_content, close, open_database};
use super::{Access, registry};
use crate::store::reserved::RUNS;
use crate::store::{StoreError, StoreResult, Turns, Usage};
use crate::util::{lock, process};

pub(super) struct OpenFile {
    pub(super) path: PathBuf,
    /// Which file that was when it was opened.
    pub(super) identity: Identity,
    /// The process that opened it.
    pub(super) process: u32,
    pub(super) access: Access,
    pub(super) cache_size: usize,
    /// `None` after it had to be closed.
    pub(super) database: RwLock<Option<Opened>>,
    /// Set when the file has to be opened anew before it is used again.
    pub(super) broken: AtomicBool,
    /// Set when the file was not what it should be: until it is again, who reads looks closely too.
    pub(super) suspect: AtomicBool,
    pub(super) generation: AtomicU64,
    /// Commits of this process that were begun, counted while redb lets one write at a time.
    pub(super) started: AtomicU64,
    /// Those of them that came to an end, whichever.
    pub(super) finished: AtomicU64,
    pub(super) handles: AtomicUsize,
    pub(super) ids: Mutex<Ids>,
    /// What all tables hold, once somebody asked.
    pub(super) usage: Mutex<Option<Usage>>,
    /// Whether there are commits that are not on the disk.
    pub(super) unsynced: Mutex<Unsynced>,
    /// Of those who have it open: no other has the number.
    pub(super) era: u64,
    pub(super) turns: Arc<Turns>,
}

/// Numbers for new tables.
pub(super) struct Ids {
    pub(super) next: u32,
    /// As the file says.
    pub(super) saved: u32,
}

/// The open file with this path; opened when it is not yet. The caller has a handle of it from now on.
pub(super) fn open(path: &Path, access: Access, creates: bool, cache_size: usize) -> StoreResult<Arc<OpenFile>> {
    let path = absolute(path).map_err(|error| format!("can't open {}: {error}", path.display()))?;
    let mut open = lock(registry::of_this_process());
    open.retain(|shared| shared.strong_count() > 0);
    if let Ok(metadata) = std::fs::metadata(&path) {
        let identity = identity_of(&metadata, &path);
        let same = |shared: &Arc<OpenFile>| shared.identity == identity;
        if let Some(shared) = open.iter().filter_map(Weak::upgrade).find(same) {
            if access == Access::Full && shared.access == Access::ReadOnly {
                return Err(format!("{} is open for reading only in this process", path.display()).into());
            }
            shared.add_handle();
            return Ok(shared);
        }
    }
    let opened = open_database(&path, access, cache_size, Wanted::Any { creates })?;
    let shared = Arc::new(OpenFile {
        path: path.clone(),
        #[allow(clippy::clone_on_copy, reason = "a path on other systems")]
        identity: opened.identity.clone(),
        process: process::id(),
        access: opened.access,
        cache_size,
        ids: Mutex::new(Ids { next: opened.next, saved: opened.next }),
        database: RwLock::new(Some(opened)),
        broken: AtomicBool::new(false),
        suspect: AtomicBool::new(false),
        generation: AtomicU64::new(0),
        started: AtomicU64::new(0),
        finished: AtomicU64::new(0),
        handles: AtomicUsize::new(1),
        usage: Mutex::default(),
        unsynced: Mutex::default(),
        era: getrandom::u64().unwrap_or_default(),
        turns: Arc::default(),
    });
    open.push(Arc::downgrade(&shared));
    Ok(shared)
}

impl OpenFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::SeqCst);
    }

    /// Gives a handle back; with the last one the file is closed.
    pub(super) fn remove_handle(self: &Arc<Self>) {
        if self.is_of_other_process() {
            // What the parent has open is not to be touched: no lock, no page and no mutex, which some other thread of
            // the parent may have held.
            std::mem::forget(Arc::clone(self));
            return;
        }
        let mut open = lock(registry::of_this_process());
        if self.handles.fetch_sub(1, Ordering::SeqCst) > 1 {
            return;
        }
        if lock(&self.unsynced).commits && !self.broken.load(Ordering::SeqCst) {
            let _ = self.sync();
        }
        // While nobody can open it again.
        close(self.database.write().unwrap_or_else(PoisonError::into_inner).take());
        open.retain(|shared| !std::ptr::eq(shared.as_ptr(), Arc::as_ptr(self)));
    }

    /// Whether this process came from that which opened the file.
    pub(super) fn is_of_other_process(&self) -> bool {
        self.process != process::id()
    }

    pub(super) fn check_process(&self) -> StoreResult<()> {
        if self.is_of_other_process() { Err(self.says(FORKED)) } else { Ok(()) }
    }

    /// Fails when the path does not lead to the file any more, or the file is not whole. `head`: also when somebody has
    /// written over it.
    pub(super) fn check_file(&self, opened: &Opened, head: bool) -> StoreResult<()> {
        let checked = match Look::at(&self.path) {
            Ok(look) if look.identity == self.identity => check_content(opened, &look, head),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Err(REPLACED.into()),
        };
        if checked.is_err() {
            self.suspect.store(true, Ordering::Relaxed);
        }
        checked
    }

    /// The same, as far as the open file itself tells. What is read from a file that has gone is what was stored; that
    /// it has gone is for who writes to find out.
    pub(super) fn check_open_file(&self, opened: &Opened) -> StoreResult<()> {
        if !self.suspect.load(Ordering::Relaxed) {
            return Ok(opened.backend.check_head()?);
        }
        let look = Look::at_open(&opened.file, &self.path)?;
        if look.is_gone {
            return Err(REPLACED.into());
        }
        check_content(opened, &look, true)?;
        self.suspect.store(false, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn says(&self, what: impl std::fmt::Display) -> StoreError {
        format!("{}: {what}", self.path.display()).into()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    pub(super) fn has_other_handles(&self) -> bool {
        self.handles.load(Ordering::SeqCst) > 1
    }

    pub(super) fn damaged(&self, what: &str) -> StoreError {
        format!("{} is damaged: {what}", self.path.display()).into()
    }

    /// The error with the file's name. After one of redb's or the system's the file has to be opened anew.
    fn failed(&self, error: StoreError) -> StoreError {
        if error.is_conflict() {
            return error;
        }
        let cause = &error.cause;
        let of_redb = cause.is::<StorageError>()
            || cause.is::<TableError>()
            || cause.is::<TransactionError>()
            || cause.is::<CommitError>();
        if of_redb {
            self.broken.store(true, Ordering::SeqCst);
        }
        self.says(error)
    }

    /// Runs something of redb's: what a damaged file makes it do wrong is an error.
    pub(super) fn protect<T>(&self, f: impl FnOnce() -> StoreResult<T>) -> StoreResult<T> {
        match catch_unwind(AssertUnwindSafe(f)) {
            Ok(result) => result.map_err(|error| self.failed(error)),
            Err(_) => {
                self.broken.store(true, Ordering::SeqCst);
                Err(self.damaged("its pages contradict each other"))
            }
        }
    }

    /// The database; opened anew after an error.
    fn database(&self) -> StoreResult<RwLockReadGuard<'_, Option<Opened>>> {
        self.check_process()?;
        if self.broken.load(Ordering::SeqCst) {
            let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
            if self.broken.load(Ordering::SeqCst) {
                if let Some(opened) = &*database {
                    opened.backend.check_head().map_err(|error| self.says(error))?;
                }
                close(database.take());
                let opened = open_database(&self.path, self.access, self.cache_size, Wanted::This(&self.identity))?;
                let mut ids = lock(&self.ids);
                // Relaxed commits may be gone, and what they had written down.
                ids.saved = opened.next;
                *database = Some(opened);
                *lock(&self.usage) = None;
                self.generation.fetch_add(1, Ordering::SeqCst);
                self.broken.store(false, Ordering::SeqCst);
            }
        }
        Ok(self.database.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hands the database to `f`, protected.
    pub(super) fn with_database<T>(&self, f: impl FnOnce(&Opened) -> StoreResult<T>) -> StoreResult<T> {
        let guard = self.database()?;
        let opened = guard.as_ref().ok_or_else(|| self.damaged("it is closed"))?;
        self.protect(|| f(opened))
    }

    /// The file as it is now, with the number of commits that it has at least, and of the opening.
    pub(super) fn read(&self) -> StoreResult<(Entries, u64, u64)> {
        self.with_database(|opened| {
            self.check_open_file(opened)?;
            // In this order, so that a commit in between is checked for, not missed.
            let commit = self.finished.load(Ordering::SeqCst);
            let generation = self.generation.load(Ordering::SeqCst);
            Ok((opened.database.begin_read()?.open_table(ENTRIES)?, commit, generation))
        })
    }

    /// What all tables hold.
    pub(super) fn usage(&self) -> StoreResult<Usage> {
        self.check_process()?;
        let mut known = lock(&self.usage);
        if let Some(usage) = *known
            && !self.broken.load(Ordering::SeqCst)
        {
            return Ok(usage);
        }
        drop(known);
        let (table, ..) = self.read()?;
        let usage = self.protect(|| format::usage(&table))?;
        known = lock(&self.usage);
        // Who committed meanwhile knows better.
        Ok(*known.get_or_insert(usage))
    }

    pub(super) fn reserve_ids(&self, count: u32) -> StoreResult<u32> {
        self.check_process()?;
        let mut ids = lock(&self.ids);
        let first = ids.next;
        if count > 0 {
            ids.next = first.checked_add(count).filter(|end| *end < RUNS).ok_or("no table numbers are left")?;
        }
        Ok(first)
    }

    /// The next number for a table.
    pub(super) fn next_id(&self) -> u32 {
        if self.is_of_other_process() { 0 } else { lock(&self.ids).next }
    }

    /// The only user has given its tables other numbers.
    pub(super) fn count_on_from(&self, next: u32) {
        if !self.has_other_handles() {
            *lock(&self.ids) = Ids { next, saved: next };
        }
    }
}
