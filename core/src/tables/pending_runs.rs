//! Durable runs that wait, in a store: what goes on later, and who may let it.
//!
//! A run is kept with references to the tables that Lua holds: so they move into the store, and stay there.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Tables;
use crate::store::StoreResult;
use crate::store::reserved::{OWN, RUNS};
use crate::util::ByteReader;
use crate::value::codec::{self, tag};

/// A [durable](crate::ComputeOptions::durable) run that waits, as its store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingRun {
    /// Its name.
    pub name: String,
    /// How much longer somebody has claimed it, who may be at work for it; `None` when anybody may
    /// [resume](crate::Sandbox::resume) it.
    pub claimed: Option<Duration>,
}

/// Who may let a run go on: whoever has the number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claimant(pub(crate) [u8; 16]);

/// As it is in a store.
struct Claim {
    claimant: Claimant,
    /// See [`TableStore::era`](crate::TableStore::era).
    era: u64,
    until: Duration,
}

/// Somebody else has claimed the run, for this long.
pub(crate) struct Claimed(pub(crate) Duration);

fn claim_key(name: &str) -> String {
    format!("claim:{name}")
}

impl Claim {
    fn read(value: &[u8]) -> Option<Self> {
        let mut reader = ByteReader::new(value.strip_prefix(&[tag::STRING])?);
        reader.u32()?;
        let claimant = Claimant(reader.take(16)?.try_into().ok()?);
        let (era, until) = (reader.u64()?, Duration::from_micros(reader.u64()?));
        Some(Claim { claimant, era, until })
    }

    fn encode(&self) -> Vec<u8> {
        let until = u64::try_from(self.until.as_micros()).unwrap_or(u64::MAX);
        let fields = [&self.claimant.0[..], &self.era.to_le_bytes(), &until.to_le_bytes()].concat();
        let mut value = Vec::new();
        codec::put_u32(&mut value, tag::STRING, fields.len() as u32);
        value.extend_from_slice(&fields);
        value
    }
}

/// The run's bytes in what is stored: a table of these and of references.
fn content(value: &[u8]) -> Option<&[u8]> {
    if !codec::is_kept(value) {
        return None;
    }
    let mut reader = ByteReader::new(value.strip_prefix(&[tag::TABLE])?);
    reader.u32()?;
    reader.u32()?;
    let mut reader = ByteReader::new(reader.rest.strip_prefix(&[tag::STRING])?);
    let len = reader.u32()?;
    reader.take(len as usize)
}

impl Tables {
    /// All runs that wait, in the order of their names.
    pub(crate) fn pending_runs(&mut self) -> StoreResult<Vec<PendingRun>> {
        let mut names = Vec::new();
        self.keys(RUNS, &mut |name| names.push(name.to_owned()))?;
        names.sort_unstable();
        let mut runs = Vec::new();
        for name in names {
            let claimed = self.claim_of(&name)?.map(|(_, left)| left).filter(|left| !left.is_zero());
            runs.push(PendingRun { name, claimed });
        }
        Ok(runs)
    }

    /// What was stored of a run.
    pub(crate) fn pending_run(&mut self, name: &str) -> StoreResult<Option<Vec<u8>>> {
        let mut run = None;
        let found = self.get(RUNS, name, &mut |value| run = content(value).map(<[u8]>::to_vec))?;
        match run {
            None if found => Err(format!("what is stored of the run '{}' makes no sense", name.escape_debug()).into()),
            run => Ok(run),
        }
    }

    pub(crate) fn has_pending_run(&mut self, name: &str) -> StoreResult<bool> {
        self.contains(RUNS, name)
    }

    /// Stores a run with the present one's writes, and with what Lua holds.
    pub(crate) fn put_pending_run(&mut self, name: &str, run: &[u8], held: &[u32]) {
        let mut value = vec![tag::TABLE];
        value.extend_from_slice(&(1 + held.len() as u32).to_le_bytes());
        value.extend_from_slice(&0u32.to_le_bytes());
        codec::put_u32(&mut value, tag::STRING, run.len() as u32);
        value.extend_from_slice(run);
        held.iter().for_each(|id| codec::put_u32(&mut value, tag::EXTERNAL, *id));
        self.set(RUNS, name, &value);
    }

    /// Removes a run, with the present one's writes.
    pub(crate) fn remove_pending_run(&mut self, name: &str) {
        self.overlay.put(RUNS, name, None);
        self.release_claim(name);
    }

    /// Claims a run for so long, or claims it further; with the present run's writes.
    pub(crate) fn claim(&mut self, name: &str, by: Claimant, term: Duration) -> StoreResult<Result<(), Claimed>> {
        if self.lease_end.is_none() {
            return Ok(Ok(()));
        }
        let known = self.claim_of(name)?;
        match known {
            Some((claimant, left)) if claimant != by && !left.is_zero() => return Ok(Err(Claimed(left))),
            // Not every wait needs to write it.
            Some((claimant, left)) if claimant == by && left > term / 2 => return Ok(Ok(())),
            _ => {}
        }
        let until = self.store_time()?.saturating_add(term);
        let claim = Claim { claimant: by, era: self.store()?.era(), until };
        self.overlay.put(OWN, &claim_key(name), Some(&claim.encode()));
        Ok(Ok(()))
    }

    /// Whether a run that was claimed still is. It has been read then: who takes it over meanwhile makes a commit fail.
    pub(crate) fn is_claimed_by(&mut self, name: &str, by: Claimant) -> StoreResult<bool> {
        Ok(self.lease_end.is_none() || self.claim_of(name)?.is_some_and(|(claimant, _)| claimant == by))
    }

    /// Anybody may let the run go on; with the present run's writes.
    pub(crate) fn release_claim(&mut self, name: &str) {
        if self.lease_end.is_some() {
            self.overlay.put(OWN, &claim_key(name), None);
        }
    }

    /// Who has claimed a run, and for how much longer.
    fn claim_of(&mut self, name: &str) -> StoreResult<Option<(Claimant, Duration)>> {
        let mut claim = None;
        self.get(OWN, &claim_key(name), &mut |value| claim = Claim::read(value))?;
        let Some(claim) = claim else { return Ok(None) };
        if claim.era != self.store()?.era() {
            return Ok(Some((claim.claimant, Duration::ZERO)));
        }
        let now = self.store_time()?;
        Ok(Some((claim.claimant, claim.until.saturating_sub(now))))
    }

    fn store_time(&mut self) -> StoreResult<Duration> {
        let now: SystemTime = self.store()?.now()?;
        Ok(now.duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}
