//! Writes against a limit of what the tables may hold.

use super::Tables;
use crate::store::{StoreResult, Usage};
use crate::tables::StoreLimit;
use crate::tables::meter::Meter;

impl Tables {
    /// As [`set`](Self::set) when there is room for it; false when there is not.
    #[inline]
    pub(crate) fn set_within(&mut self, table: u32, key: &str, value: &[u8], limit: &StoreLimit) -> StoreResult<bool> {
        let size = (key.len() + value.len()) as u64;
        if !self.meter()?.add_without_looking(size, limit) && !self.fits(table, key, size, limit)? {
            return Ok(false);
        }
        self.set(table, key, value);
        Ok(true)
    }

    /// As [`set`](Self::set), for the host: it counts, and there is always room for it.
    pub(crate) fn set_by_host(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        let size = (key.len() + value.len()) as u64;
        // In a run of which something counts already.
        if let Some(meter) = &mut self.meter
            && !meter.add_without_looking(size, &StoreLimit::UNLIMITED)
        {
            let old = self.entry_size(table, key)?;
            self.meter()?.change(old, Some(size), &StoreLimit::UNLIMITED);
        }
        self.set(table, key, value);
        Ok(())
    }

    #[inline]
    fn meter(&mut self) -> StoreResult<&mut Meter> {
        let meter = match self.meter {
            Some(meter) => meter,
            None => self.new_meter()?,
        };
        Ok(self.meter.insert(meter))
    }

    #[cold]
    fn new_meter(&mut self) -> StoreResult<Meter> {
        let usage = self.store()?.usage()?;
        let mut meter = Meter::new(usage.unwrap_or_default());
        if !self.overlay.is_empty() {
            // The host wrote something in this run already.
            meter.set_exact(self.usage_after(meter.before)?);
        }
        Ok(meter)
    }

    fn usage_after(&mut self, before: Usage) -> StoreResult<Usage> {
        self.store()?;
        self.overlay.usage_after(self.backing.store(), before)
    }

    /// Near the limit: what was there before counts.
    #[cold]
    fn fits(&mut self, table: u32, key: &str, size: u64, limit: &StoreLimit) -> StoreResult<bool> {
        let meter = *self.meter()?;
        if !meter.is_exact() {
            let usage = self.usage_after(meter.before)?;
            self.meter()?.set_exact(usage);
        }
        let old = self.entry_size(table, key)?;
        Ok(self.meter()?.change(old, Some(size), limit))
    }

    pub(super) fn entry_size(&mut self, table: u32, key: &str) -> StoreResult<Option<u64>> {
        let mut size = None;
        self.get(table, key, &mut |value| size = Some((key.len() + value.len()) as u64))?;
        Ok(size)
    }
}
