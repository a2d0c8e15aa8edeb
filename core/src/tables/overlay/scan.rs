//! Going through a table as the current run sees it: what the store holds, changed by what the run wrote.

use super::{Entry, InStore, NONE, Overlay};
use crate::store::{StoreResult, TableStore};
use crate::util::SmallBytes;

impl Overlay {
    /// Hands every entry to `visit`, as this run sees them: first those of the store, in its order, then new ones.
    pub(crate) fn scan(
        &mut self,
        store: &mut dyn TableStore,
        table: u32,
        visit: &mut dyn FnMut(&str, &[u8]),
    ) -> StoreResult<()> {
        if !self.tables.contains_key(&table) {
            return store.scan(table, visit);
        }
        self.resolve(store, table)?;
        let Some(state) = self.tables.get(&table) else {
            return Ok(());
        };
        if state.removed {
            return Ok(());
        }
        if state.stored != Some(0) {
            store.scan(table, &mut |key, value| match self.written(table, key.as_bytes()) {
                None => visit(key, value),
                Some(Entry { value: Some(value), .. }) => visit(key, value.as_slice()),
                Some(_) => {}
            })?;
        }
        let mut next = state.first_new;
        while let Some(entry) = self.entry(next) {
            if let Some(value) = &entry.value {
                visit(std::str::from_utf8(entry.key.as_slice())?, value.as_slice());
            }
            next = entry.next_new;
        }
        Ok(())
    }

    /// Hands entries to `visit` until that gives false: in the order of `scan`, those that come after the key `after`,
    /// or from the first one on. False when there is no such key; one that this run deleted still has its place. What
    /// was deleted comes without a value: a script can make much of that, and who passes over it has to count it.
    pub(crate) fn scan_after(
        &mut self,
        store: &mut dyn TableStore,
        table: u32,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, Option<&[u8]>) -> bool,
    ) -> StoreResult<bool> {
        self.resolve(store, table)?;
        let written = after.and_then(|key| self.written(table, key.as_bytes()));
        if let (None, Some(key)) = (written, after)
            && !store.contains(table, key)?
        {
            return Ok(false);
        }
        let Some(state) = self.tables.get(&table) else {
            store.scan_after(table, after, &mut |key, value| visit(key, Some(value)))?;
            return Ok(true);
        };
        if state.removed {
            return Ok(true);
        }
        let (mut next, mut gone, mut gone_new) = (state.first_new, None::<String>, NONE);
        // Whether everything that was passed is gone.
        let mut all_gone = after.is_none();
        let mut more = true;
        if let Some(Entry { in_store: InStore::No, next_new, .. }) = written {
            next = *next_new;
        } else if state.stored != Some(0) {
            let start = if all_gone { state.gone.as_deref() } else { after };
            store.scan_after(table, start, &mut |key, value| {
                let value = match self.written(table, key.as_bytes()) {
                    None => Some(value),
                    Some(entry) => entry.value.as_ref().map(SmallBytes::as_slice),
                };
                all_gone &= value.is_none();
                if all_gone {
                    let gone = gone.get_or_insert_default();
                    gone.clear();
                    gone.push_str(key);
                }
                more = visit(key, value);
                more
            })?;
        }
        if more && all_gone && state.gone_new != NONE {
            next = self.entry(state.gone_new).map_or(NONE, |entry| entry.next_new);
        }
        while more && let Some(entry) = self.entry(next) {
            let value = entry.value.as_ref().map(SmallBytes::as_slice);
            all_gone &= value.is_none();
            if all_gone {
                gone_new = next;
            }
            more = visit(std::str::from_utf8(entry.key.as_slice())?, value);
            next = entry.next_new;
        }
        if let Some(state) = self.tables.get_mut(&table) {
            if gone.is_some() {
                state.gone = gone;
            }
            if gone_new != NONE {
                state.gone_new = gone_new;
            }
        }
        Ok(true)
    }

    /// Hands every key to `visit`, as `scan` does.
    pub(crate) fn keys(
        &mut self,
        store: &mut dyn TableStore,
        table: u32,
        visit: &mut dyn FnMut(&str),
    ) -> StoreResult<()> {
        if self.tables.contains_key(&table) {
            return self.scan(store, table, &mut |key, _| visit(key));
        }
        store.keys(table, visit)
    }
}
