//! Commits: what a run read is checked, and what it wrote is stored, on the server and at once.

use super::cache::VERSION;
use super::session::{self, Answer};
use super::write_part::Part;
use super::{RedisStore, scripts};
use crate::store::{CancelToken, StoreError, StoreResult, Write};

/// A run that used more entries of a table than this, and has all of it, is in conflict with any change to the table.
const MANY_USED: usize = 1000;

/// A run that has more to check than this is in conflict with any change at all: the server must not be kept by it.
const MAX_CHECKS: usize = 10_000;

impl RedisStore {
    /// What the commit has to check; the tables get a place in `part`.
    fn checks(&self, part: &mut Part) -> StoreResult<Vec<Vec<u8>>> {
        let mut checks = Vec::new();
        for (id, table) in &self.cache.tables {
            if table.changed {
                return Err(StoreError::changed(*id, None));
            }
            let mut place = || (part.place(*id) + 2).to_string().into_bytes();
            let used = || table.entries.iter().filter(|(_, known)| known.used);
            if table.all_used || table.whole && used().count() > MANY_USED {
                checks.extend([b"t".to_vec(), place(), table.version.clone()]);
                continue;
            }
            if table.size_used
                && let Some(size) = table.size
            {
                checks.extend([b"s".to_vec(), place(), size.to_string().into_bytes()]);
            }
            for (key, known) in used() {
                let version = known.entry.as_ref().and_then(|entry| entry.get(..VERSION)).unwrap_or_default();
                checks.extend([b"v".to_vec(), place(), key.as_bytes().to_vec(), version.to_vec()]);
            }
        }
        Ok(checks)
    }

    pub(super) fn write<'a>(&mut self, writes: impl Iterator<Item = Write<'a>>, checks: bool) -> StoreResult<()> {
        let mut writes = writes.peekable();
        let mut part = Part::take(&mut writes);
        if !part.is_empty() && self.session.pool().read_only() {
            return Err(self.session.pool().error("it was opened for reading only"));
        }
        // The tables that are only looked at come after those that are written to.
        let written = part.tables.len();
        let mut arguments = if checks { self.checks(&mut part)? } else { Vec::new() };
        let mut tables = part.tables.clone();
        part.tables.truncate(written);
        if arguments.len() > 4 * MAX_CHECKS {
            tables.truncate(written);
            arguments = vec![b"p".to_vec(), self.began.unwrap_or_default().to_string().into_bytes()];
        }
        if part.is_empty() && arguments.is_empty() {
            return Ok(());
        }
        if writes.peek().is_some() {
            return self.write_in_parts(part, writes, tables, arguments);
        }
        let checks = arguments.len();
        if !part.is_empty() {
            if part.refers() {
                arguments.push(b"n".to_vec());
            }
            arguments.extend([b"w".to_vec(), part.packed()]);
        }
        let keys = self.session.pool().keys(&["meta", "log"], tables.iter().copied());
        match self.session.call(&scripts::COMMIT, &keys, &arguments, part.is_empty(), &self.cancel)? {
            Answer::Done(_) => {
                if !part.is_empty() {
                    self.session.committed();
                }
                Ok(())
            }
            Answer::Not(word) if word.starts_with(CONFLICT) => Err(changed(&word, &tables, &arguments)),
            Answer::Not(word) if word == b"gc" => {
                arguments.truncate(checks);
                self.write_in_parts(part, writes, tables, arguments)
            }
            Answer::Not(_) => Err(self.session.pool().strange()),
        }
    }

    /// Sets everything aside on the server first; what makes it count is short then, and the server has time for others
    /// while it is made. `checks` are about `tables`.
    fn write_in_parts<'a>(
        &mut self,
        first: Part,
        mut rest: std::iter::Peekable<impl Iterator<Item = Write<'a>>>,
        tables: Vec<u32>,
        checks: Vec<Vec<u8>>,
    ) -> StoreResult<()> {
        let name = session::random_name()?;
        let list = format!("commit:{name}");
        let mut staged = Vec::new();
        let mut next = first;
        let result = loop {
            staged.push(next.tables.clone());
            if let Err(error) = self.session.stage(&list, 3 * (staged.len() - 1), next, &self.cancel) {
                break Err(error);
            }
            next = Part::take(&mut rest);
            if next.is_empty() {
                break self.switch(&name, &list, staged.len(), &tables, checks);
            }
        };
        if let Err(error) = result {
            if !error.is_uncertain() {
                self.session.pool().remove(&list);
            }
            return Err(error);
        }
        // It is stored. Whoever comes goes on with it if this one can't.
        let pending = format!("{name} {}", self.session.position());
        for (done, tables) in staged.iter().enumerate() {
            let left = 3 * (staged.len() - done) as u64;
            if self.session.apply(&list, pending.as_bytes(), left, tables, &CancelToken::default()).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Makes what was set aside count.
    fn switch(
        &mut self,
        name: &str,
        list: &str,
        parts: usize,
        tables: &[u32],
        mut checks: Vec<Vec<u8>>,
    ) -> StoreResult<()> {
        let mut keys = self.session.pool().keys(&["meta", "log"], tables.iter().copied());
        keys.push(self.session.pool().key(list));
        checks.extend([
            b"c".to_vec(),
            keys.len().to_string().into_bytes(),
            (3 * parts).to_string().into_bytes(),
            name.as_bytes().to_vec(),
        ]);
        match self.session.call(&scripts::COMMIT, &keys, &checks, false, &self.cancel)? {
            Answer::Done(_) => {
                self.session.committed();
                Ok(())
            }
            Answer::Not(word) if word.starts_with(CONFLICT) => Err(changed(&word, tables, &checks)),
            Answer::Not(_) => Err(self.session.pool().strange()),
        }
    }
}

/// What the answer to a commit begins with that is in conflict; the place of the check that found that comes behind.
const CONFLICT: &[u8] = b"conflict ";

/// The number of the script's first argument that is a check's, and of its first key that is a table.
const FIRST_CHECK: usize = 8;
const FIRST_TABLE: usize = 3;

/// What the check at the answer's place was about.
fn changed(answer: &[u8], tables: &[u32], checks: &[Vec<u8>]) -> StoreError {
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<usize>().ok();
    let about = || {
        let at = number(answer.strip_prefix(CONFLICT)?)?.checked_sub(FIRST_CHECK)?;
        let [what, place, rest @ ..] = checks.get(at..)? else { return None };
        let table = tables.get(number(place)?.checked_sub(FIRST_TABLE)?)?;
        let key = rest.first().filter(|_| what == b"v").and_then(|key| std::str::from_utf8(key).ok());
        (what != b"p").then(|| StoreError::changed(*table, key))
    };
    about()
        .unwrap_or_else(|| StoreError::conflict("another sandbox changed something, and this one had read very much"))
}
