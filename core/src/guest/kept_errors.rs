//! Errors of host functions in a run, kept in case one of them is the error of the run.

use std::collections::VecDeque;

use crate::value::Error;

/// A script that collects errors doesn't collect the host's memory: of more than this, the earliest are let go. The
/// latest one stays however large it is.
const MOST: usize = 1000;
const MOST_BYTES: usize = 1 << 20;

/// Causes behind each other: more than there can be where each run inside another one adds its own. A script that
/// catches an error and raises it in a run that a host function starts, again and again, would make a chain of them
/// that has no end, and dropping it would take a stack that has none.
const MOST_CAUSES: usize = 64;

/// What lies behind an error: how many causes, and what they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Causes {
    causes: usize,
    bytes: usize,
}

struct Kept {
    error: Error,
    /// What it counts.
    bytes: usize,
    behind: Causes,
}

/// Errors by number, from 1 on; a number is given once in a run.
#[derive(Default)]
pub(super) struct KeptErrors {
    list: VecDeque<Kept>,
    bytes: usize,
    /// How many came before those in the list.
    gone: u32,
}

impl KeptErrors {
    pub(super) fn keep(&mut self, error: Error, bytes: usize, behind: Causes) -> u32 {
        // The value may be the error's own too, and a binding has an object of its language beside it.
        let bytes = bytes.saturating_add(error.own_bytes()).saturating_add(behind.bytes);
        self.list.push_back(Kept { error, bytes, behind });
        self.bytes = self.bytes.saturating_add(bytes);
        while self.list.len() > 1 && (self.list.len() > MOST || self.bytes > MOST_BYTES) {
            if let Some(kept) = self.list.pop_front() {
                self.bytes -= kept.bytes;
                // Past four billion the causes are lost, but never mixed up: 0 is no number.
                self.gone = self.gone.saturating_add(1);
            }
        }
        self.last_number().unwrap_or(0)
    }

    /// The number that was given last; `None` when there are no more.
    pub(super) fn last_number(&self) -> Option<u32> {
        u32::try_from(self.list.len()).ok().and_then(|n| self.gone.checked_add(n))
    }

    /// Those of a run that has given this number last, elsewhere: what it knows by earlier ones isn't here.
    pub(super) fn beginning_after(last: u32) -> Self {
        Self { gone: last, ..Self::default() }
    }

    /// The error with this number, and what lies behind one that it causes; `None` when that is too much.
    pub(super) fn get(&self, number: i64) -> Option<(Error, Option<Causes>)> {
        let at = usize::try_from(number.checked_sub(i64::from(self.gone))?.checked_sub(1)?).ok()?;
        let kept = self.list.get(at)?;
        let behind = Causes { causes: kept.behind.causes + 1, bytes: kept.bytes };
        let fits = kept.behind.causes < MOST_CAUSES && (kept.behind.causes == 0 || behind.bytes <= MOST_BYTES);
        Some((kept.error.clone(), fits.then_some(behind)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_number_as_long_as_it_is_kept() {
        let mut kept = KeptErrors::default();
        let numbers: Vec<u32> =
            (0..5000).map(|i| kept.keep(Error::host(format!("{i}")), 10, Causes::default())).collect();
        let mut found = 0;
        for (i, number) in numbers.iter().enumerate() {
            if let Some((error, _)) = kept.get((*number).into()) {
                assert_eq!(error.message(), i.to_string());
                found += 1;
            }
        }
        assert_eq!(found, MOST);
        assert!(
            kept.get(0).is_none() && kept.get(-1).is_none() && kept.get(i64::MIN).is_none() && kept.get(5001).is_none()
        );
    }

    #[test]
    fn large_ones_are_kept_for_less_long() {
        let mut kept = KeptErrors::default();
        for i in 1..=100 {
            let number = kept.keep(Error::host("x".repeat(2_000_000)), 2_000_000, Causes::default());
            assert_eq!(number, i);
            assert!(kept.get(number.into()).is_some());
            assert_eq!(kept.list.len(), 1);
        }
        for _ in 0..100 {
            kept.keep(Error::host("small"), 5, Causes::default());
        }
        assert_eq!(kept.list.len(), 100);
    }
}
