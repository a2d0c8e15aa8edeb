//! One open file, shared by all handles in this process.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::Duration;

use redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageError, TableError};

use super::Durability;
use super::format::{self, ABOUT, ENTRIES, Entries, EntriesMut, FORMAT, FORMAT_KEY, Key, MAGIC};
use super::probation::Backend;
use crate::store::{StoreError, StoreResult, Usage, Write};
use crate::tables::{self, NEXT_KEY, OWN};

/// Relaxed commits are on the disk after this time.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// All open files, so that one process opens each of them once.
static OPEN: Mutex<Option<HashMap<PathBuf, Weak<Shared>>>> = Mutex::new(None);

pub(super) struct Shared {
    path: PathBuf,
    cache_size: usize,
    /// `None` after it had to be closed.
    database: RwLock<Option<Database>>,
    /// Set when the file has to be opened anew before it is used again.
    broken: AtomicBool,
    generation: AtomicU64,
    /// Commits of this process that were begun, counted while redb lets one write at a time.
    started: AtomicU64,
    /// Those of them that came to an end, whichever.
    finished: AtomicU64,
    handles: AtomicUsize,
    ids: Mutex<Ids>,
    /// What all tables hold, once somebody asked.
    usage: Mutex<Option<Usage>>,
    /// Whether there are commits that are not on the disk.
    unsynced: Mutex<Unsynced>,
}

/// Numbers for new tables.
struct Ids {
    next: u32,
    /// As the file says.
    saved: u32,
}

#[derive(Default)]
struct Unsynced {
    commits: bool,
    /// Whether a thread will see to them.
    thread: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The open file with this path; opened when it is not yet. The caller has a handle of it from now on.
pub(super) fn open(path: &Path, cache_size: usize) -> StoreResult<Arc<Shared>> {
    let path = absolute(path).map_err(|error| format!("can't open {}: {error}", path.display()))?;
    let mut open = lock(&OPEN);
    let open = open.get_or_insert_with(HashMap::new);
    open.retain(|_, shared| shared.strong_count() > 0);
    if let Some(shared) = open.get(&path).and_then(Weak::upgrade) {
        shared.add_handle();
        return Ok(shared);
    }
    let (database, next) = open_database(&path, cache_size)?;
    let shared = Arc::new(Shared {
        path: path.clone(),
        cache_size,
        database: RwLock::new(Some(database)),
        broken: AtomicBool::new(false),
        generation: AtomicU64::new(0),
        started: AtomicU64::new(0),
        finished: AtomicU64::new(0),
        handles: AtomicUsize::new(1),
        ids: Mutex::new(Ids { next, saved: next }),
        usage: Mutex::default(),
        unsynced: Mutex::default(),
    });
    open.insert(path, Arc::downgrade(&shared));
    Ok(shared)
}

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

/// Opens the file and looks whether it is ours, without changing it before that is known. Gives also the next table number.
fn open_database(path: &Path, cache_size: usize) -> StoreResult<(Database, u32)> {
    let shown = path.display();
    let system = |error: std::io::Error| StoreError::from(format!("can't open {shown}: {error}"));
    let (mut file, new) = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => (file, false),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            (OpenOptions::new().read(true).write(true).create_new(true).open(path).map_err(system)?, true)
        }
        Err(error) => return Err(system(error)),
    };
    let result = (|| {
        let about = file.metadata().map_err(system)?;
        if !about.is_file() {
            return Err(format!("{shown} is no file").into());
        }
        let empty = about.len() == 0;
        if !empty {
            check_header(&mut file, about.len()).map_err(|why| format!("{shown} {why}; it was left as it is"))?;
        }
        let backend = Backend::new(file).map_err(|error| explain(path, error))?;
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let mut database = Builder::new()
                .set_cache_size(cache_size)
                .create_with_backend(backend.clone())
                .map_err(|e| explain(path, e))?;
            if empty {
                make_tables(&database).map_err(|e| format!("can't write {shown}: {}", e))?;
            }
            let next = inspect(&database).map_err(|why| format!("{shown} {why}; it was left as it is"))?;
            // Where that takes no time worth speaking of. Otherwise damage is found by who reads it.
            if !empty && about.len() <= CHECKED_WHOLE && !database.check_integrity().map_err(|e| explain(path, e))? {
                return Err(
                    format!("{shown} is damaged: its pages don't match their checksums; it was left as it is").into()
                );
            }
            Ok::<_, StoreError>((database, next))
        }));
        let opened = opened.unwrap_or_else(|_| Err(format!("{shown} is damaged; it was left as it is").into()))?;
        backend.accept().map_err(|error| StoreError::from(format!("can't write {shown}: {error}")))?;
        Ok(opened)
    })();
    if result.is_err() && new {
        // Made by us a moment ago, and empty.
        let _ = std::fs::remove_file(path);
    }
    result
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
        return Err("is no store of luacell".to_owned());
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
    drop(transaction.open_table(ENTRIES)?);
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
        Err(_) => return Err("is no store of luacell: another program made it".to_owned()),
    };
    match about.get(FORMAT_KEY).map_err(|e| damaged(&e))?.map(|format| format.value()) {
        Some(FORMAT) => {}
        Some(format) => {
            return Err(format!("has format {format}, and this version of luacell reads format {FORMAT} only"));
        }
        None => return Err("is no store of luacell: another program made it".to_owned()),
    }
    let entries = transaction.open_table(ENTRIES).map_err(|e| damaged(&e))?;
    let key = Key::entry(OWN, NEXT_KEY);
    let Some(next) = entries.get(key.as_slice()).map_err(|e| damaged(&e))? else {
        return Ok(tables::FIRST_FREE);
    };
    let next = format::value_of(key.as_slice(), next.value()).map_err(|e| format!("is {e}"))?;
    tables::decode_next(next).ok_or_else(|| "is damaged: its next table number is malformed".to_owned())
}

impl Shared {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::SeqCst);
    }

    /// Gives a handle back; with the last one the file is closed.
    pub(super) fn remove_handle(&self) {
        let mut open = lock(&OPEN);
        if self.handles.fetch_sub(1, Ordering::SeqCst) > 1 {
            return;
        }
        if lock(&self.unsynced).commits && !self.broken.load(Ordering::SeqCst) {
            let _ = self.sync();
        }
        // While nobody can open it again.
        drop(self.database.write().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(open) = open.as_mut() {
            open.remove(&self.path);
        }
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

    /// The error with the file's name. An error of the system also says that the file has to be opened anew.
    fn failed(&self, error: StoreError) -> StoreError {
        if error.is_conflict() {
            return error;
        }
        self.broken.store(true, Ordering::SeqCst);
        format!("{}: {error}", self.path.display()).into()
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
    fn database(&self) -> StoreResult<RwLockReadGuard<'_, Option<Database>>> {
        if self.broken.load(Ordering::SeqCst) {
            let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
            if self.broken.load(Ordering::SeqCst) {
                drop(database.take());
                let (opened, next) = open_database(&self.path, self.cache_size)?;
                *database = Some(opened);
                let mut ids = lock(&self.ids);
                // Relaxed commits may be gone, and what they had written down.
                ids.saved = next;
                *lock(&self.usage) = None;
                self.generation.fetch_add(1, Ordering::SeqCst);
                self.broken.store(false, Ordering::SeqCst);
            }
        }
        Ok(self.database.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hands the database to `f`, protected.
    fn with_database<T>(&self, f: impl FnOnce(&Database) -> StoreResult<T>) -> StoreResult<T> {
        let guard = self.database()?;
        let database = guard.as_ref().ok_or_else(|| self.damaged("it is closed"))?;
        self.protect(|| f(database))
    }

    /// The file as it is now, with the number of commits that it has at least, and of the opening.
    pub(super) fn read(&self) -> StoreResult<(Entries, u64, u64)> {
        self.with_database(|database| {
            // In this order, so that a commit in between is checked for, not missed.
            let commit = self.finished.load(Ordering::SeqCst);
            let generation = self.generation.load(Ordering::SeqCst);
            Ok((database.begin_read()?.open_table(ENTRIES)?, commit, generation))
        })
    }

    /// Writes: `f` gets the table and the number of commits that came before. Nothing is written when it fails.
    pub(super) fn write(
        self: &Arc<Self>,
        durability: Durability,
        f: impl FnOnce(&mut EntriesMut<'_>, u64) -> StoreResult<Option<Usage>>,
    ) -> StoreResult<()> {
        self.with_database(|database| self.write_to(database, durability, f))?;
        if durability == Durability::Relaxed {
            self.sync_later();
        }
        Ok(())
    }

    fn write_to(
        &self,
        database: &Database,
        durability: Durability,
        f: impl FnOnce(&mut EntriesMut<'_>, u64) -> StoreResult<Option<Usage>>,
    ) -> StoreResult<()> {
        let mut transaction = database.begin_write()?;
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
                let next = tables::noted_next(ids.next);
                let value = tables::encode_next(next);
                format::apply(&mut table, std::iter::once(Write::Set { table: OWN, key: NEXT_KEY, value: &value }))?;
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
        Ok(())
    }

    /// What all tables hold.
    pub(super) fn usage(&self) -> StoreResult<Usage> {
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
        let mut ids = lock(&self.ids);
        let first = ids.next;
        ids.next = first.checked_add(count).filter(|end| *end < OWN).ok_or("no table numbers are left")?;
        Ok(first)
    }

    /// Puts everything on the disk.
    pub(super) fn sync(&self) -> StoreResult<()> {
        self.with_database(|database| {
            // An empty commit takes those before it along.
            database.begin_write()?.commit()?;
            lock(&self.unsynced).commits = false;
            Ok(())
        })
    }

    /// Sees to it that relaxed commits come to the disk soon.
    fn sync_later(self: &Arc<Self>) {
        let mut unsynced = lock(&self.unsynced);
        unsynced.commits = true;
        if unsynced.thread {
            return;
        }
        let weak = Arc::downgrade(self);
        let thread = std::thread::Builder::new().name("luacell-sync".to_owned()).spawn(move || {
            loop {
                std::thread::sleep(SYNC_EVERY);
                let Some(shared) = weak.upgrade() else { return };
                let again = std::mem::take(&mut lock(&shared.unsynced).commits);
                if again {
                    // Whoever commits next hears of an error.
                    let _ = shared.sync();
                } else {
                    let mut unsynced = lock(&shared.unsynced);
                    if !unsynced.commits {
                        unsynced.thread = false;
                        return;
                    }
                }
            }
        });
        unsynced.thread = thread.is_ok();
    }
}
