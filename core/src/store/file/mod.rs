//! Tables in one file, on redb.

mod backend;
mod commit;
mod format;
mod identity;
mod open_file;
mod opening;
mod registry;

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ahash::RandomState;
use redb::ReadableTable;

use self::format::{Entries, Key, Walk};
use self::open_file::OpenFile;
use super::{Batch, CancelToken, StoreError, StoreResult, TableStore, Turns, Usage, Write};
use crate::store::reserved::{NEXT_KEY, OWN, decode_next};
use crate::value::Result;

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// When it is on the disk: it survives a crash of the process and of the machine. This is the default.
    #[default]
    Full,
    /// When the next run would see it. A crash of the process or of the machine may lose the commits of the last
    /// second, whole ones, the latest first; the file stays intact. Much faster for small commits.
    Relaxed,
}

/// How a [`FileStore`] is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileOptions {
    durability: Durability,
    cache_size: usize,
    access: Access,
    creates: bool,
}

/// What may be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Full,
    ReadOnly,
    /// It is damaged somewhere: it is left as it is.
    Damaged,
}

impl FileOptions {
    /// When a commit counts as done.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How much of the file is kept in memory, in bytes. Default 64 MiB. The setting of the first one to open the file
    /// counts for the whole process.
    #[must_use]
    pub fn cache_size(mut self, bytes: usize) -> Self {
        self.cache_size = bytes;
        self
    }

    /// Only reads: nothing is written to the file, so no permission to write is needed. The file has to exist. Several
    /// processes may read a file in this way, but not while a process has it open for writing. A run that stores
    /// something fails with `Store`. As a path for the bindings: `file://PATH?read_only=true`.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.access = if read_only { Access::ReadOnly } else { Access::Full };
        self
    }

    /// Whether a file is created where there is none, unless it is [only read](Self::read_only). This is the default. As a
    /// path for the bindings: `file://PATH?create=false`.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.creates = create;
        self
    }

    /// Opens the file, or creates it. The folder has to exist.
    ///
    /// # Errors
    /// `Store` if another process has it open, or if it is not a luacell store, is damaged, or was written by a later
    /// version that this one does not understand; the file is then left as it is. Also if the system refuses to open
    /// it.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<FileStore> {
        let shared = open_file::open(path.as_ref(), self.access, self.creates, self.cache_size)?;
        let reads_only = self.access != Access::Full;
        Ok(FileStore { shared, durability: self.durability, reads_only, view: None, cancel: CancelToken::default() })
    }
}

impl Default for FileOptions {
    fn default() -> Self {
        FileOptions { durability: Durability::Full, cache_size: 64 << 20, access: Access::Full, creates: true }
    }
}

/// Tables in one file. A commit is there completely or not at all, whatever crashes.
///
/// One process at a time has the file open. A forked process does not have it: it gets `Store` until it opens the file
/// itself. Within a process, any number of sandboxes may use the file: opening it again, by any of its names, or
/// cloning gives another handle to the same file. If a run read something that another run changed meanwhile, it is
/// repeated. Keys come in the order of their bytes. After an error of the system (such as a full disk), the file is
/// opened again with the next run; if it was deleted, replaced or cut off meanwhile, runs fail with `Store`.
pub struct FileStore {
    shared: Arc<OpenFile>,
    durability: Durability,
    /// Whether this handle was opened for reading only.
    reads_only: bool,
    view: Option<View>,
    /// Of the present run.
    cancel: CancelToken,
}

/// What a run sees: the file as it was at its first look.
struct View {
    table: Entries,
    /// The commit that made it so.
    commit: u64,
    /// Counts how often the file was opened.
    generation: u64,
    /// What was read, when others might change it.
    reads: Option<Reads>,
}

#[derive(Default)]
struct Reads {
    keys: HashSet<Vec<u8>, RandomState>,
    tables: HashSet<u32, RandomState>,
}

impl FileStore {
    /// Opens a file, or creates it, with the default options.
    ///
    /// # Errors
    /// As [`FileOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<FileStore> {
        FileOptions::default().open(path)
    }

    /// For options other than the defaults.
    #[must_use]
    pub fn options() -> FileOptions {
        FileOptions::default()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.shared.path()
    }

    /// Puts everything that was committed on the disk; for [`Durability::Relaxed`].
    ///
    /// # Errors
    /// `Store` if the system fails to do so.
    pub fn sync(&self) -> Result<()> {
        Ok(self.shared.sync()?)
    }

    /// Ends what the present run sees.
    fn end_view(&mut self) -> Option<View> {
        let view = self.view.take()?;
        if self.shared.is_of_other_process() {
            // See `OpenFile::remove_handle`.
            std::mem::forget(view);
            return None;
        }
        Some(view)
    }

    fn view(&mut self) -> StoreResult<&mut View> {
        if self.view.is_none() {
            let (table, commit, generation) = self.shared.read()?;
            let reads = self.shared.has_other_handles().then(Reads::default);
            self.view = Some(View { table, commit, generation, reads });
        }
        self.view.as_mut().ok_or_else(|| "no view of the file".into())
    }

    /// Reads one key.
    fn read(&mut self, key: &Key, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        let shared = Arc::clone(&self.shared);
        let view = self.view()?;
        if let Some(reads) = &mut view.reads
            && !reads.keys.contains(key.as_slice())
        {
            reads.keys.insert(key.as_slice().to_vec());
        }
        let table = &view.table;
        let found = shared.protect(|| format::find(table, key.as_slice()))?;
        if let Some(value) = &found {
            read(value.value());
        }
        Ok(found.is_some())
    }

    /// Hands the entries of a table from a key on to `visit` until that gives false.
    fn entries(
        &mut self,
        table: u32,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, &[u8]) -> bool,
    ) -> StoreResult<()> {
        let shared = Arc::clone(&self.shared);
        let view = self.view()?;
        if let Some(reads) = &mut view.reads {
            reads.tables.insert(table);
        }
        let source = &view.table;
        let mut walk = shared.protect(|| Walk::new(source, table, after))?;
        while shared.protect(|| walk.advance())? {
            if !visit(walk.key(), walk.value()) {
                break;
            }
        }
        Ok(())
    }

    /// A write by itself, outside of any run.
    fn write_now(&mut self, write: Write<'_>) -> StoreResult<()> {
        self.end_view();
        self.check_writes()?;
        let cancel = CancelToken::default();
        self.shared.write(self.durability, false, |table, _| format::apply(table, std::iter::once(write), &cancel))
    }

    fn commit_now(&mut self, batch: &Batch<'_>) -> StoreResult<()> {
        let shared = Arc::clone(&self.shared);
        let view = self.end_view();
        self.check_writes()?;
        let cancel = &self.cancel;
        let next = batch.writes().find_map(|write| match write {
            Write::Set { table: OWN, key: NEXT_KEY, value } => decode_next(value),
            _ => None,
        });
        shared.write(self.durability, view.is_some(), |table, commit| {
            match view {
                Some(view) if view.generation != shared.generation() => {
                    return Err(StoreError::conflict("the file was opened again"));
                }
                Some(view) if view.commit != commit => view.check(table)?,
                _ => {}
            }
            format::apply(table, batch.writes(), cancel)
        })?;
        if let Some(next) = next {
            shared.count_on_from(next);
        }
        Ok(())
    }

    fn check_writes(&self) -> StoreResult<()> {
        match self.reads_only {
            true => Err(format!("{}: it was opened for reading only", self.path().display()).into()),
            false => Ok(()),
        }
    }
}

impl View {
    /// Whether what was read is still so.
    fn check(self, now: &impl ReadableTable<&'static [u8], &'static [u8]>) -> StoreResult<()> {
        // Somebody opened the file after this run had begun.
        let reads = self.reads.ok_or_else(|| StoreError::conflict("another sandbox has begun to use the file"))?;
        for key in &reads.keys {
            let (before, after) = (self.table.get(key.as_slice())?, now.get(key.as_slice())?);
            let same = match (&before, &after) {
                (Some(before), Some(after)) => {
                    let key = key.as_slice();
                    format::value_of(key, before.value())? == format::value_of(key, after.value())?
                }
                (before, after) => before.is_none() && after.is_none(),
            };
            if !same {
                return Err(format::changed(key.as_slice()));
            }
        }
        for table in &reads.tables {
            let (start, end) = (Key::entry(*table, ""), Key::end(*table));
            let mut before = self.table.range::<&[u8]>(start.as_slice()..end.as_slice())?;
            let mut after = now.range::<&[u8]>(start.as_slice()..end.as_slice())?;
            loop {
                match (before.next().transpose()?, after.next().transpose()?) {
                    (None, None) => break,
                    (Some((k, v)), Some((l, w)))
                        if k.value() == l.value()
                            && format::value_of(k.value(), v.value())? == format::value_of(l.value(), w.value())? => {}
                    _ => return Err(StoreError::changed(*table, None)),
                }
            }
        }
        Ok(())
    }
}

impl Clone for FileStore {
    /// Another handle to the same file.
    fn clone(&self) -> Self {
        self.shared.add_handle();
        FileStore {
            shared: Arc::clone(&self.shared),
            durability: self.durability,
            reads_only: self.reads_only,
            view: None,
            cancel: CancelToken::default(),
        }
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        self.end_view();
        self.shared.remove_handle();
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore").field("path", &self.path()).field("durability", &self.durability).finish()
    }
}

impl TableStore for FileStore {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        self.read(&Key::entry(table, key), read)
    }

    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.write_now(Write::Set { table, key, value })
    }

    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.write_now(Write::Delete { table, key })
    }

    fn size(&mut self, table: u32) -> StoreResult<u64> {
        let mut size = Ok(0);
        self.read(&Key::count(table), &mut |bytes| size = format::read_count(bytes))?;
        size
    }

    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        self.entries(table, None, &mut |key, _| {
            visit(key);
            true
        })
    }

    fn scan(&mut self, table: u32, visit: &mut dyn FnMut(&str, &[u8])) -> StoreResult<()> {
        self.entries(table, None, &mut |key, value| {
            visit(key, value);
            true
        })
    }

    fn keys_after(
        &mut self,
        table: u32,
        after: Option<&str>,
        limit: usize,
        visit: &mut dyn FnMut(&str),
    ) -> StoreResult<()> {
        if limit == 0 {
            return Ok(());
        }
        let mut left = limit;
        self.entries(table, after, &mut |key, _| {
            visit(key);
            left -= 1;
            left > 0
        })
    }

    fn scan_after(
        &mut self,
        table: u32,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, &[u8]) -> bool,
    ) -> StoreResult<()> {
        self.entries(table, after, visit)
    }

    fn remove_table(&mut self, table: u32) -> StoreResult<()> {
        self.write_now(Write::RemoveTable { table })
    }

    fn tables(&mut self, visit: &mut dyn FnMut(u32)) -> StoreResult<bool> {
        let shared = Arc::clone(&self.shared);
        let source = &self.view()?.table;
        let mut from = 1;
        loop {
            let start = Key::count(from);
            let next = shared.protect(|| {
                let Some((key, value)) = source.range::<&[u8]>(start.as_slice()..)?.next().transpose()? else {
                    return Ok(None);
                };
                format::value_of(key.value(), value.value())?;
                Ok(format::table_of(key.value()))
            })?;
            let Some(table) = next else { break };
            visit(table);
            let Some(after) = table.checked_add(1) else { break };
            from = after;
        }
        Ok(true)
    }

    fn usage(&mut self) -> StoreResult<Option<Usage>> {
        self.shared.usage().map(Some)
    }

    fn begin(&mut self) -> StoreResult<()> {
        self.end_view();
        Ok(())
    }

    fn set_cancel(&mut self, token: &CancelToken) {
        self.cancel = token.clone();
    }

    fn commit(&mut self, batch: &mut Batch<'_>) -> StoreResult<()> {
        if batch.is_empty() {
            self.end_view();
            return Ok(());
        }
        self.commit_now(batch)
    }

    fn rollback(&mut self) {
        self.end_view();
    }

    fn reserve_ids(&mut self, count: u32) -> StoreResult<Option<u32>> {
        self.shared.reserve_ids(count).map(Some)
    }

    fn known_next_id(&self) -> Option<u32> {
        Some(self.shared.next_id())
    }

    fn turns(&self) -> Option<Arc<Turns>> {
        Some(Arc::clone(&self.shared.turns))
    }

    fn era(&self) -> u64 {
        self.shared.era
    }

    fn is_shared(&self) -> bool {
        self.reads_only || self.shared.has_other_handles()
    }
}
