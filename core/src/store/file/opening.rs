//! Opening a file: whether it is there, ours, and whole.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageError, TableError};

use super::Access;
use super::backend::{Backend, REPLACED};
use super::format::{self, ABOUT, ENTRIES, FORMAT, FORMAT_KEY, Key, MAGIC};
use super::identity::{Identity, Look, identity_of};
use crate::store::reserved::{self, NEXT_KEY, OWN};
use crate::store::{StoreError, StoreResult};

/// The file, ready for use.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) backend: Backend,
    /// Of the open file, whatever its path leads to by now.
    pub(super) file: File,
    pub(super) identity: Identity,
    pub(super) access: Access,
    /// The next table number.
    pub(super) next: u32,
}

/// The path by which the file is known, also when it does not exist yet.
pub(super) fn absolute(path: &Path) -> std::io::Result<PathBuf> {
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

/// Which file is to be opened.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    This(&'a Identity),
    /// Whichever has the path; whether one is made when there is none.
    Any {
        creates: bool,
    },
}

/// Opens the file and looks whether it is ours, without changing it before that is known.
pub(super) fn open_database(path: &Path, access: Access, cache_size: usize, wanted: Wanted<'_>) -> StoreResult<Opened> {
    let writes = access == Access::Full;
    let creates = writes && matches!(wanted, Wanted::Any { creates: true });
    let open = || OpenOptions::new().read(true).write(writes).open(path);
    let file = match open() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && creates => {
            create(path, cache_size)?;
            open()
        }
        opened => opened,
    };
    let file = file.map_err(|error| {
        // Who opens it may want to know whether it is there.
        std::io::Error::new(error.kind(), format!("can't open {}: {error}", path.display()))
    })?;
    prepare(
        file,
        path,
        access,
        cache_size,
        match wanted {
            Wanted::This(file) => Some(file),
            Wanted::Any { .. } => None,
        },
    )
}

/// The database in an open file, for which messages have this path. An empty file becomes one.
fn prepare(
    mut file: File,
    path: &Path,
    access: Access,
    cache_size: usize,
    wanted: Option<&Identity>,
) -> StoreResult<Opened> {
    let shown = path.display();
    let system = |error: std::io::Error| StoreError::from(format!("can't open {shown}: {error}"));
    let writes = access == Access::Full;
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
}

/// Makes a new file beside the place that it is for, and puts it there when it is whole: this may end at any moment.
fn create(path: &Path, cache_size: usize) -> StoreResult<()> {
    let shown = path.display();
    let system = |error: std::io::Error| StoreError::from(format!("can't create {shown}: {error}"));
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(|error| format!("can't create {shown}: {error}"))?;
    let beside = path.with_file_name(format!(".luacell-{:016x}", u64::from_ne_bytes(number)));
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&beside).map_err(system)?;
    let made = prepare(file, path, Access::Full, cache_size, None).and_then(|opened| {
        close(Some(opened));
        match std::fs::hard_link(&beside, path) {
            // Somebody else was faster.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            // Where files can't have two names.
            Err(_) if !path.exists() => std::fs::rename(&beside, path).map_err(system),
            linked => linked.map_err(system),
        }
    });
    let _ = std::fs::remove_file(&beside);
    // So that its name outlasts a power failure as well as what is stored; not every system can do that.
    if let Some(folder) = path.parent() {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    made
}

/// Fails when somebody else has cut the file off, or, with `head`, copied something over it.
pub(super) fn check_content(opened: &Opened, look: &Look, head: bool) -> StoreResult<()> {
    if opened.backend.is_cut_off(look.len)? {
        return Err("it was cut off while it was open".into());
    }
    if head { Ok(opened.backend.check_head()?) } else { Ok(()) }
}

/// redb writes where it ends, but not to a file that is not ours any more; what a damaged file makes it do wrong there
/// is no reason to panic where a store is dropped.
pub(super) fn close(opened: Option<Opened>) {
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
