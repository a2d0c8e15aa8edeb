//! Removal of tables that nobody needs, while others use the store.
//!
//! A table that can't be reached from `_home` may still be held by a sandbox in a variable. So the server knows each
//! sandbox, the highest position that it can have seen, and what it held at its last report. A sandbox can't hold a
//! table that was made after that position. Nor can it hold a table that was already out of reach at its last report
//! and is not in that report: nobody can find what nobody can reach.
//!
//! Tables are examined one after another while others change them. From the beginning on, commits note the tables that
//! the values they write refer to; these count as reached. So a table that was made before, was not reached, and was
//! not changed has been out of reach since the end at the latest.

use std::collections::BTreeMap;

use ahash::{HashMap, HashSet, HashSetExt};
use redis::Value;

use super::cache::pairs;
use super::scripts::{self, Script};
use super::session::{Answer, LEASE, bytes, number};
use super::{EMPTY, LISTED, RedisStore};
use crate::store::StoreResult;
use crate::store::reserved::{HOME, RUNS, is_valid};
use crate::value::codec;

/// So many tables are looked at in one request, and so many entries of each at a time.
const TABLES: usize = 64;
const ENTRIES: usize = 256;

/// So many are removed in one request.
const REMOVED: usize = 512;

/// What the server knows of a user.
struct User {
    /// The highest position that it can have seen.
    bound: u64,
    /// When it told what it holds.
    told: u64,
    held: Vec<u32>,
}

impl User {
    fn read(entry: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(entry).ok()?;
        let mut parts = text.splitn(4, ' ').skip(1);
        let (bound, told) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let held = parts.next()?.split(',').filter_map(|id| id.parse().ok()).collect();
        Some(User { bound, told, held })
    }

    /// Whether it may hold a table that was made at a position, and that nothing has referred to since another.
    fn may_hold(&self, id: u32, made: u64, since: u64) -> bool {
        made <= self.bound && (self.told <= since || self.held.contains(&id))
    }
}

/// A position among the bytes that `meta` has of a table.
fn position(known: &[u8], at: usize) -> u64 {
    known.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

fn list(value: Option<Value>) -> Option<Vec<Vec<u8>>> {
    let (Value::Array(values) | Value::Set(values)) = value? else { return None };
    values.into_iter().map(|value| bytes(value)?).collect()
}

fn text(n: impl ToString) -> Vec<u8> {
    n.to_string().into_bytes()
}

/// Why a collection ends before it is done: somebody else is at it.
struct Busy;

impl RedisStore {
    /// Tells what this sandbox holds, for the collections of others.
    pub(super) fn tell(&mut self, held: &[u32]) -> StoreResult<()> {
        let held: Vec<String> = held.iter().map(u32::to_string).collect();
        let keys = self.session.pool().keys(&["meta", "log", "users"], []);
        self.session.done(&scripts::HOLD, &keys, &[held.join(",").into_bytes()], true, &self.cancel)?;
        self.session.told();
        Ok(())
    }

    /// Removes what nobody needs. `held` are the tables that this sandbox holds.
    pub(super) fn collect(&mut self, held: &[u32]) -> StoreResult<()> {
        self.tell(held)?;
        let ended = self.session.pool().take_ended();
        let mut arguments = vec![text(LEASE)];
        arguments.extend(ended.iter().cloned().map(String::into_bytes));
        let begun = self.ask_gc(&scripts::GC, &["users", "grey"], &[], &arguments);
        if !matches!(begun, Ok(Ok(_))) {
            self.session.pool().put_ended(ended);
        }
        let Ok(mut begun) = begun? else { return Ok(()) };
        let exact = self.session.others();
        let entries = begun.next().and_then(pairs).ok_or_else(|| self.session.pool().strange())?;
        let before = self.session.position();
        let mut users = HashMap::default();
        for (name, entry) in entries {
            let mut user = User::read(&entry).ok_or_else(|| self.session.pool().strange())?;
            user.bound = exact.get(&name).map_or(user.bound, |seen| user.bound.min(*seen));
            users.insert(name, user);
        }
        let tables = self.list()?;
        let mut roots: Vec<u32> = users.values().flat_map(|user| user.held.iter().copied()).collect();
        roots.extend(held.iter().copied().chain([HOME, RUNS]));
        let Ok((reached, now, active)) = self.mark(roots)? else { return Ok(()) };
        let Ok(mut orphans) = self.orphans()? else { return Ok(()) };
        users.remove(self.session.user());
        for (name, user) in now.iter().filter(|(name, _)| *name != self.session.user()) {
            // Who is new, or has done something or told meanwhile, as it is now.
            match users.get_mut(name) {
                Some(before) => {
                    if active.contains(name) {
                        before.bound = u64::MAX;
                    }
                }
                None => {
                    drop(users.insert(name.clone(), User { bound: u64::MAX, told: user.told, held: user.held.clone() }))
                }
            }
        }
        let after = self.session.position();
        let (mut removed, mut noted, mut wanted) = (Vec::new(), Vec::new(), false);
        for (id, known) in &tables {
            let (version, made) = (position(known, 0), position(known, 8));
            if !is_valid(*id) || reached.contains(id) || version > before {
                continue;
            }
            let since = match orphans.remove(id) {
                Some(since) => since,
                None => after,
            };
            if users.values().any(|user| user.may_hold(*id, made, since)) {
                wanted = true;
                if since == after {
                    noted.extend([text(id), text(since)]);
                }
            } else {
                removed.push((*id, known.clone()));
            }
        }
        // Found again, or gone.
        noted.extend(orphans.keys().flat_map(|id| [text(id), Vec::new()]));
        for noted in noted.chunks(2 * REMOVED) {
            let arguments = [&[Vec::new()], noted].concat();
            if self.ask_gc(&scripts::ORPHANS, &["orphans"], &[], &arguments)?.is_err() {
                return Ok(());
            }
        }
        for removed in removed.chunks(REMOVED) {
            let (ids, known): (Vec<u32>, Vec<Vec<u8>>) = removed.iter().cloned().unzip();
            if self.ask_gc(&scripts::REMOVE, &["grey", "orphans"], &ids, &known)?.is_err() {
                return Ok(());
            }
        }
        let wanted = if wanted { text(after) } else { Vec::new() };
        self.ask_gc(&scripts::COLLECTED, &["grey"], &[], &[wanted]).map(drop)
    }

    /// Runs a script of a collection.
    fn ask_gc(
        &mut self,
        script: &Script,
        others: &[&str],
        tables: &[u32],
        arguments: &[Vec<u8>],
    ) -> StoreResult<Result<std::vec::IntoIter<Value>, Busy>> {
        let names = [&["meta", "log"], others].concat();
        let keys = self.session.pool().keys(&names, tables.iter().copied());
        match self.session.call(script, &keys, arguments, true, &self.cancel)? {
            Answer::Done(parts) => Ok(Ok(parts)),
            Answer::Not(_) => Ok(Err(Busy)),
        }
    }

    /// All tables, and what `meta` knows of each.
    pub(super) fn list(&mut self) -> StoreResult<BTreeMap<u32, Vec<u8>>> {
        let keys = self.session.pool().keys(&["meta", "log"], []);
        let (mut cursor, mut all) = (0, BTreeMap::new());
        loop {
            let mut parts =
                self.session.done(&scripts::LIST, &keys, &[text(cursor), text(LISTED)], true, &self.cancel)?;
            let strange = || self.session.pool().strange();
            cursor = number(parts.next()).ok_or_else(strange)?;
            for (id, known) in parts.next().and_then(pairs).ok_or_else(strange)? {
                all.insert(id.parse().map_err(|_| strange())?, known);
            }
            if cursor == 0 {
                return Ok(all);
            }
        }
    }

    /// All tables that are not empty.
    pub(super) fn filled(&mut self) -> StoreResult<Vec<u32>> {
        let all = self.list()?;
        Ok(all.into_iter().filter(|(_, known)| known.len() != EMPTY).map(|(id, _)| id).collect())
    }

    /// All that can be reached from these, the users by then, and who of them has done something meanwhile.
    #[allow(clippy::type_complexity, reason = "used once")]
    fn mark(
        &mut self,
        roots: Vec<u32>,
    ) -> StoreResult<Result<(HashSet<u32>, HashMap<String, User>, HashSet<String>), Busy>> {
        let mut reached: HashSet<u32> = roots.iter().copied().collect();
        // Each with a cursor.
        let mut pending: Vec<(u32, u64)> = reached.iter().map(|id| (*id, 0)).collect();
        let mut rounds = 0;
        loop {
            while !pending.is_empty() {
                let batch = pending.split_off(pending.len().saturating_sub(TABLES));
                let found = self.references(batch, &mut pending)?;
                pending.extend(found.into_iter().filter(|id| reached.insert(*id)).map(|id| (id, 0)));
                rounds += 1;
                if rounds % 256 == 0 && self.noted()?.is_err() {
                    return Ok(Err(Busy));
                }
            }
            let Ok(noted) = self.noted()? else { return Ok(Err(Busy)) };
            pending.extend(noted.iter().filter(|id| reached.insert(**id)).map(|id| (*id, 0)));
            if !pending.is_empty() {
                continue;
            }
            let keys = self.session.pool().keys(&["meta", "log", "users", "grey"], []);
            match self.session.call(&scripts::MARKED, &keys, &[text(noted.len())], true, &self.cancel)? {
                Answer::Done(mut parts) => {
                    let strange = || self.session.pool().strange();
                    let entries = parts.next().and_then(pairs).ok_or_else(strange)?;
                    let active = list(parts.next()).ok_or_else(strange)?;
                    let active = active.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect();
                    let users = entries.into_iter().map(|(name, entry)| Some((name, User::read(&entry)?)));
                    let users = users.collect::<Option<_>>().ok_or_else(strange)?;
                    return Ok(Ok((reached, users, active)));
                }
                Answer::Not(word) if word == b"more" => {}
                Answer::Not(_) => return Ok(Err(Busy)),
            }
        }
    }

    /// What some tables refer to; those that have more come back to `pending`.
    fn references(&mut self, batch: Vec<(u32, u64)>, pending: &mut Vec<(u32, u64)>) -> StoreResult<Vec<u32>> {
        let mut arguments = Vec::new();
        for (place, (_, cursor)) in batch.iter().enumerate() {
            arguments.extend([b"r".to_vec(), text(place + 3), text(cursor), text(ENTRIES)]);
        }
        let keys = self.session.pool().keys(&["meta", "log"], batch.iter().map(|(id, _)| *id));
        let answers = self.session.done(&scripts::READ, &keys, &arguments, true, &self.cancel)?;
        let mut found = Vec::new();
        for ((id, _), answer) in batch.into_iter().zip(answers) {
            let strange = || self.session.pool().strange();
            let Value::Array(parts) = answer else { return Err(strange()) };
            let mut parts = parts.into_iter();
            let cursor = number(parts.next()).ok_or_else(strange)?;
            for value in list(parts.next()).ok_or_else(strange)? {
                codec::references(&value, &mut |id| found.push(id));
            }
            if cursor != 0 {
                pending.push((id, cursor));
            }
        }
        Ok(found)
    }

    /// What commits have noted since the beginning.
    fn noted(&mut self) -> StoreResult<Result<HashSet<u32>, Busy>> {
        let (mut cursor, mut all) = (0, HashSet::new());
        loop {
            let Ok(mut parts) = self.ask_gc(&scripts::GREY, &["grey"], &[], &[text(cursor)])? else {
                return Ok(Err(Busy));
            };
            let strange = || self.session.pool().strange();
            cursor = number(parts.next()).ok_or_else(strange)?;
            let ids = list(parts.next()).ok_or_else(strange)?;
            all.extend(ids.iter().filter_map(|id| std::str::from_utf8(id).ok()?.parse::<u32>().ok()));
            if cursor == 0 {
                return Ok(Ok(all));
            }
        }
    }

    /// The tables that nothing referred to when it was looked before, and since which position.
    fn orphans(&mut self) -> StoreResult<Result<HashMap<u32, u64>, Busy>> {
        let (mut cursor, mut all) = (0u64, HashMap::default());
        loop {
            let Ok(mut parts) = self.ask_gc(&scripts::ORPHANS, &["orphans"], &[], &[text(cursor)])? else {
                return Ok(Err(Busy));
            };
            let strange = || self.session.pool().strange();
            cursor = number(parts.next()).ok_or_else(strange)?;
            for (id, since) in parts.next().and_then(pairs).ok_or_else(strange)? {
                let since = std::str::from_utf8(&since).ok().and_then(|since| since.parse().ok());
                all.insert(id.parse().map_err(|_| strange())?, since.ok_or_else(strange)?);
            }
            if cursor == 0 {
                return Ok(Ok(all));
            }
        }
    }
}
