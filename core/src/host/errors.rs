//! Errors that host functions gave in a run, for when one of them comes out of it.

use std::collections::VecDeque;

use crate::Error;

/// A script that collects errors doesn't collect the host's memory: of more than this, the earliest are let go. The latest one stays however large it is.
const MOST: usize = 1000;
const MOST_BYTES: usize = 1 << 20;

/// Errors by number, from 1 on; a number is given once in a run.
#[derive(Default)]
pub(super) struct KeptErrors {
    /// With what each counts.
    list: VecDeque<(Error, usize)>,
    bytes: usize,
    /// How many came before those in the list.
    gone: u32,
}

impl KeptErrors {
    pub(super) fn keep(&mut self, error: Error, bytes: usize) -> u32 {
        // The value may be the error's own too, and a binding has an object of its language beside it.
        let bytes = bytes.saturating_add(error.own_bytes());
        self.list.push_back((error, bytes));
        self.bytes = self.bytes.saturating_add(bytes);
        while self.list.len() > 1 && (self.list.len() > MOST || self.bytes > MOST_BYTES) {
            if let Some((_, bytes)) = self.list.pop_front() {
                self.bytes -= bytes;
                // Past four billion the causes are lost, but never mixed up: 0 is no number.
                self.gone = self.gone.saturating_add(1);
            }
        }
        u32::try_from(self.list.len()).ok().and_then(|n| self.gone.checked_add(n)).unwrap_or(0)
    }

    pub(super) fn get(&self, number: i64) -> Option<Error> {
        let at = usize::try_from(number.checked_sub(i64::from(self.gone))?.checked_sub(1)?).ok()?;
        self.list.get(at).map(|(error, _)| error.clone())
    }

    pub(super) fn clear(&mut self) {
        if !self.list.is_empty() || self.gone > 0 {
            *self = KeptErrors::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_number_as_long_as_it_is_kept() {
        let mut kept = KeptErrors::default();
        let numbers: Vec<u32> = (0..5000).map(|i| kept.keep(Error::host(format!("{i}")), 10)).collect();
        let mut found = 0;
        for (i, number) in numbers.iter().enumerate() {
            if let Some(error) = kept.get((*number).into()) {
                assert_eq!(error.message(), i.to_string());
                found += 1;
            }
        }
        assert_eq!(found, MOST);
        assert!(
            kept.get(0).is_none() && kept.get(-1).is_none() && kept.get(i64::MIN).is_none() && kept.get(5001).is_none()
        );
        kept.clear();
        assert!(kept.get(5000).is_none());
        assert_eq!(kept.keep(Error::host("first"), 0), 1);
    }

    #[test]
    fn large_ones_are_kept_for_less_long() {
        let mut kept = KeptErrors::default();
        for i in 1..=100 {
            let number = kept.keep(Error::host("x".repeat(2_000_000)), 2_000_000);
            assert_eq!(number, i);
            assert!(kept.get(number.into()).is_some());
            assert_eq!(kept.list.len(), 1);
        }
        for _ in 0..100 {
            kept.keep(Error::host("small"), 5);
        }
        assert_eq!(kept.list.len(), 100);
    }
}
