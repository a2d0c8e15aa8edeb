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
use super::opening::{Opened, absolute, check_content, close, open_database};
use super::{Access, registry};
use crate::store::reserved::OWN;
use crate::store::{StoreError, StoreResult, Usage};
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
}

/// Numbers for new tables.
pub(super) struct Ids {
    pub(super) next: u32,
    /// As the file says.
    pub(super) saved: u32,
}

/// The open file with this path; opened when it is not yet. The caller has a handle of it from now on.
pub(super) fn open(path: &Path, access: Access, cache_size: usize) -> StoreResult<Arc<OpenFile>> {
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
    let opened = open_database(&path, access, cache_size, None)?;
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
    });
    open.push(Arc::downgrade(&shared));
    Ok(shared)
}

<<<<<<< HEAD
impl OpenFile {
=======
/// The path by which the file is known, also when it does not exist yet.
fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let folder = match path.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            let name = path.file_name().ok_or(error)?;
            Ok(folder.canonicalize()?.join(name))
        }
        result => result,
    }
}

/// Files up to this many bytes are read whole when they are opened.
const CHECKED_WHOLE: u64 = 4 << 20;

/// Opens the file and looks whether it is ours, without changing it before that is known. `wanted`: it has to be this
/// one; otherwise a new one is made when there is none.
fn open_database(path: &Path, access: Access, cache_size: usize, wanted: Option<&Identity>) -> StoreResult<Opened> {
    let shown = path.display();
    let system = |error: std::io::Error| StoreError::from(format!("can't open {shown}: {error}"));
    let writes = access == Access::Full;
    let (mut file, new) = match OpenOptions::new().read(true).write(writes).open(path) {
        Ok(file) => (file, false),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && writes && wanted.is_none() => {
            (OpenOptions::new().read(true).write(true).create_new(true).open(path).map_err(system)?, true)
        }
        Err(error) => return Err(system(error)),
    };
    let result = (|| {
        let about = file.metadata().map_err(system)?;
        if !about.is_file() {
            return Err(format!("{shown} is not a file").into());
        }
        let identity = identity_of(&about, path);
        if wanted.is_some_and(|wanted| *wanted != identity) {
            return Err(format!("{shown}: {REPLACED}").into());
        }
        let empty = about.len() == 0;
        if !empty {
            check_header(&mut file, about.len()).or_else(|why| check_again(&mut file, path, &why))?;
        } else if !writes {
            return Err(format!("{shown} is empty").into());
        }
        let start = |check: bool| {
            let file = file.try_clone().map_err(system)?;
            let backend = Backend::new(file, !writes).map_err(|error| explain(path, error))?;
            let opened = catch_unwind(AssertUnwindSafe(|| {
                let mut database = Builder::new()
                    .set_cache_size(cache_size)
                    .create_with_backend(backend.clone())
                    .map_err(|e| explain(path, e))?;
                if empty {
                    make_tables(&database).map_err(|e| format!("can't write {shown}: {e}"))?;
                }
                let next = inspect(&database).map_err(|why| format!("{shown} {why}; it was left as it is"))?;
                let sound = !check
                    || match database.check_integrity() {
                        Ok(sound) => sound,
                        Err(DatabaseError::Storage(StorageError::Corrupted(_))) => false,
                        Err(error) => return Err(explain(path, error)),
                    };
                Ok::<_, StoreError>(sound.then_some((database, next)))
            }));
            let damaged = || StoreError::from(format!("{shown} is damaged; it was left as it is"));
            let opened = opened.unwrap_or_else(|_| if check { Ok(None) } else { Err(damaged()) })?;
            Ok::<_, StoreError>(opened.map(|(database, next)| (database, backend, next)))
        };
        // Where that takes no time worth speaking of. Otherwise damage is found by who reads it.
        let small = !empty && about.len() <= CHECKED_WHOLE;
        let (opened, access) = match start(small)? {
            Some(opened) => (opened, access),
            // What is whole in it can be read.
            None => (start(false)?.ok_or_else(|| format!("{shown} is damaged"))?, Access::Damaged),
        };
        let (database, backend, next) = opened;
        if access == Access::Full {
            backend.accept().map_err(|error| StoreError::from(format!("can't write {shown}: {error}")))?;
        }
        Ok(Opened { database, backend, file: file.try_clone().map_err(system)?, identity, access, next })
    })();
    if result.is_err() && new && file.try_lock().is_ok() && file.metadata().is_ok_and(|about| about.len() == 0) {
        // Made by us a moment ago, and nobody else's by now.
        let _ = std::fs::remove_file(path);
    }
    result
}

/// Fails when somebody else has cut the file off, or, with `head`, copied something over it.
fn check_content(opened: &Opened, look: &Look, head: bool) -> StoreResult<()> {
    if opened.backend.is_cut_off(look.len)? {
        return Err("it was cut off while it was open".into());
    }
    if head { Ok(opened.backend.check_head()?) } else { Ok(()) }
}

/// redb writes where it ends, but not to a file that is not ours any more; what a damaged file makes it do wrong there
/// is no reason to panic where a store is dropped.
fn close(opened: Option<Opened>) {
    let _ = opened.as_ref().map(|opened| opened.backend.check_head());
    let _ = catch_unwind(AssertUnwindSafe(|| drop(opened)));
}

/// Somebody may have written to the file while it was looked at, before its lock is tried.
fn check_again(file: &mut File, path: &Path, why: &str) -> StoreResult<()> {
    let shown = path.display();
    let damaged = |why: &str| StoreError::from(format!("{shown} {why}; it was left as it is"));
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => return Err(explain(path, DatabaseError::DatabaseAlreadyOpen)),
        Err(TryLockError::Error(_)) => return Err(damaged(why)),
        Ok(()) => {}
    }
    let checked = (|| {
        file.rewind()?;
        let len = file.metadata()?.len();
        check_header(file, len).map_err(|why| damaged(&why))
    })();
    file.unlock()?;
    checked
}

/// What redb's header says, as far as it shows that the file was cut off or is no such file.
fn check_header(file: &mut File, len: u64) -> Result<(), String> {
    let mut header = [0; 64];
    let mut have = 0;
    while let Some(room) = header.get_mut(have..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("can't be read: {error}")),
        }
    }
    if !header.starts_with(MAGIC) {
        return Err("is not a luacell store".to_owned());
    }
    let number = |at: usize| {
        header.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, |b| u64::from(u32::from_le_bytes(b)))
    };
    let recovery_required = header.get(9).is_some_and(|flags| flags & 2 != 0);
    let (page, region_header, region_data, full, partial) =
        (number(12), number(16), number(20), number(24), number(28));
    let regions = full
        .checked_mul(region_header + region_data)
        .and_then(|pages| pages.checked_add(if partial > 0 { region_header + partial } else { 0 }));
    // The first page is the header.
    let expected = regions.and_then(|pages| pages.checked_add(1)?.checked_mul(page));
    match expected {
        _ if have < header.len() || page == 0 => Err("is damaged: it ends within its header".to_owned()),
        Some(expected) if !recovery_required && len < expected => {
            Err(format!("is damaged: it has {len} bytes and should have {expected}"))
        }
        None => Err("is damaged: its header makes no sense".to_owned()),
        _ => Ok(()),
    }
}

/// redb's words for what happened, as far as they need explaining.
fn explain(path: &Path, error: DatabaseError) -> StoreError {
    let shown = path.display();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            format!("{shown} is in use by another process").into()
        }
        DatabaseError::UpgradeRequired(_) => {
            format!("{shown} is in a format that this version of luacell does not read; it was left as it is").into()
        }
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() != std::io::ErrorKind::InvalidData => {
            format!("can't open {shown}: {error}").into()
        }
        error => format!("{shown} is damaged: {error}; it was left as it is").into(),
    }
}

fn make_tables(database: &Database) -> StoreResult<()> {
    let transaction = database.begin_write()?;
    transaction.open_table(ABOUT)?.insert(FORMAT_KEY, FORMAT)?;
    format::begin(&mut transaction.open_table(ENTRIES)?)?;
    transaction.commit()?;
    Ok(())
}

/// Whether it is ours; the next table number.
fn inspect(database: &Database) -> Result<u32, String> {
    let damaged = |error: &dyn std::fmt::Display| format!("is damaged: {error}");
    let transaction = database.begin_read().map_err(|e| damaged(&e))?;
    let about = match transaction.open_table(ABOUT) {
        Ok(about) => about,
        Err(TableError::Storage(error)) => return Err(damaged(&error)),
        Err(_) => return Err("is not a luacell store: another program made it".to_owned()),
    };
    match about.get(FORMAT_KEY).map_err(|e| damaged(&e))?.map(|format| format.value()) {
        Some(FORMAT) => {}
        Some(format) => {
            return Err(format!("has format {format}, but this version of luacell reads only format {FORMAT}"));
        }
        None => return Err("is not a luacell store: another program made it".to_owned()),
    }
    let entries = transaction.open_table(ENTRIES).map_err(|e| damaged(&e))?;
    let key = Key::entry(OWN, NEXT_KEY);
    let Some(next) = format::find(&entries, key.as_slice()).map_err(|e| format!("is {e}"))? else {
        return Ok(reserved::FIRST_FREE);
    };
    reserved::decode_next(next.value()).ok_or_else(|| "is damaged: its next table number is malformed".to_owned())
}

impl Shared {
>>>>>>> h-lang
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
                let opened = open_database(&self.path, self.access, self.cache_size, Some(&self.identity))?;
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

<<<<<<< HEAD
=======
    /// Writes: `f` gets the table and the number of commits that came before. Nothing is written when it fails.
    /// `has_read`: the same run did, a moment ago.
    pub(super) fn write(
        self: &Arc<Self>,
        durability: Durability,
        has_read: bool,
        f: impl FnOnce(&mut EntriesMut<'_>, u64) -> StoreResult<Option<Usage>>,
    ) -> StoreResult<()> {
        self.check_process()?;
        match self.access {
            Access::Full => {}
            Access::ReadOnly => return Err(self.says("it was opened for reading only")),
            Access::Damaged => {
                return Err(self.damaged("its sound parts can be read and exported, but nothing can be written"));
            }
        }
        self.with_database(|opened| self.write_to(opened, durability, has_read, f))?;
        if durability == Durability::Relaxed {
            self.sync_later();
        }
        Ok(())
    }

    fn write_to(
        &self,
        opened: &Opened,
        durability: Durability,
        has_read: bool,
        f: impl FnOnce(&mut EntriesMut<'_>, u64) -> StoreResult<Option<Usage>>,
    ) -> StoreResult<()> {
        let mut transaction = opened.database.begin_write()?;
        // A relaxed commit writes nothing to the file yet.
        self.check_file(opened, durability == Durability::Full || !has_read)?;
        if durability == Durability::Relaxed {
            transaction.set_durability(redb::Durability::None)?;
        }
        let mut saved = None;
        {
            let mut table = transaction.open_table(ENTRIES)?;
            let usage = f(&mut table, self.started.load(Ordering::SeqCst))?;
            if usage.is_some() {
                // One writes at a time. When the commit fails the file is opened anew, and this forgotten.
                *lock(&self.usage) = usage;
            }
            let ids = lock(&self.ids);
            if ids.next > ids.saved {
                let next = reserved::noted_next(ids.next);
                let value = reserved::encode_next(next);
                let write = Write::Set { table: OWN, key: NEXT_KEY, value: &value };
                format::apply(&mut table, std::iter::once(write), &CancelToken::default())?;
                saved = Some(next);
            }
        }
        self.started.fetch_add(1, Ordering::SeqCst);
        let committed = transaction.commit();
        self.finished.fetch_add(1, Ordering::SeqCst);
        committed?;
        if let Some(saved) = saved {
            let mut ids = lock(&self.ids);
            ids.saved = ids.saved.max(saved);
        }
        // What went into a file that nobody finds any more is not stored. A relaxed commit is not yet in it.
        if durability == Durability::Full { self.check_file(opened, true) } else { Ok(()) }
    }

>>>>>>> h-lang
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
            ids.next = first.checked_add(count).filter(|end| *end < OWN).ok_or("no table numbers are left")?;
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
