//! Commits: where what a run wrote becomes durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::format::{self, ENTRIES, EntriesMut};
use super::open_file::OpenFile;
use super::opening::Opened;
use super::{Access, Durability};
use crate::store::reserved::{self, NEXT_KEY, OWN};
use crate::store::{CancelToken, StoreResult, Usage, Write};
use crate::util::lock;

/// Relaxed commits are on the disk after this time.
const SYNC_EVERY: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Unsynced {
    pub(super) commits: bool,
    /// Whether a thread will see to them.
    pub(super) thread: bool,
}

impl OpenFile {
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

    /// Puts everything on the disk.
    pub(super) fn sync(&self) -> StoreResult<()> {
        self.with_database(|opened| {
            if self.access != Access::Full {
                return Ok(());
            }
            opened.backend.check_head()?;
            // An empty commit takes those before it along.
            opened.database.begin_write()?.commit()?;
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
