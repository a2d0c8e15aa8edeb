//! One user of a namespace: a sandbox, which must never continue with anything but what it has seen.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::Value;

use super::pool::Pool;
use super::scripts::{self, Script};
use super::write_part::Part;
use crate::store::reserved::FIRST_FREE;
use crate::store::{CancelToken, StoreError, StoreResult};

/// What stays of a large commit when its client is gone before the last step, for so many seconds.
const STAGED: u32 = 600;

/// How long somebody else's large commit is left alone, when it does not go on, before others go on with it.
const HELP_AFTER: Duration = Duration::from_millis(50);

/// Who was not heard of for so many seconds, a day, is forgotten by the next collection.
pub(super) const LEASE: u32 = 24 * 60 * 60;

/// Who does something is heard of this often.
const RENEWAL: Duration = Duration::from_secs(60 * 60);

/// Numbers from here on are for those who only read, and are never stored.
const FIRST_UNSTORED: u32 = 0xF000_0000;

pub(super) struct Session {
    pool: Arc<Pool>,
    state: Option<State>,
    /// The server has lost something that this user saw. It never gets anything again, whatever the server holds by
    /// then.
    lost: Option<String>,
    /// For who only reads: the next number for a table.
    unstored: u32,
}

/// Who this is, and what it has seen of the namespace.
struct State {
    /// Empty for one that only reads.
    user: String,
    epoch: Vec<u8>,
    position: u64,
    /// The mark of that.
    mark: Vec<u8>,
    /// The position of its own last commit.
    own: u64,
    /// When it told last what it holds, and whether somebody wants to know.
    told: u64,
    is_asked: bool,
    renewed: Instant,
    seen: Arc<Seen>,
}

/// What others in this process may know of a user.
#[derive(Default)]
pub(super) struct Seen {
    /// The highest position that it has seen, when it is not about to see more.
    position: AtomicU64,
    is_busy: AtomicBool,
}

impl Seen {
    pub(super) fn exactly(&self) -> Option<u64> {
        // In this order: what is begun after the second look has not been seen by the server before the first.
        let busy = self.is_busy.load(Ordering::SeqCst);
        let position = self.position.load(Ordering::SeqCst);
        (!busy && !self.is_busy.load(Ordering::SeqCst)).then_some(position)
    }
}

/// What a script answers when it has not refused.
pub(super) enum Answer {
    Done(std::vec::IntoIter<Value>),
    /// The word for why not.
    Not(Vec<u8>),
}

/// A number among the parts of an answer.
pub(super) fn number(value: Option<Value>) -> Option<u64> {
    match value? {
        Value::Int(n) => u64::try_from(n).ok(),
        Value::BulkString(text) => std::str::from_utf8(&text).ok()?.parse().ok(),
        _ => None,
    }
}

/// The bytes of an answer, `None` inside for nothing.
#[allow(clippy::option_option, reason = "no bytes are an answer too")]
pub(super) fn bytes(value: Value) -> Option<Option<Vec<u8>>> {
    match value {
        Value::BulkString(bytes) => Some(Some(bytes)),
        Value::Nil | Value::Boolean(false) => Some(None),
        _ => None,
    }
}

/// A script's answer: its first word and the rest.
fn split(answer: Value) -> Option<(Vec<u8>, std::vec::IntoIter<Value>)> {
    let Value::Array(parts) = answer else { return None };
    let mut parts = parts.into_iter();
    let word = bytes(parts.next()?)??;
    Some((word, parts))
}

pub(super) fn random_name() -> StoreResult<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| error.to_string())?;
    Ok(format!("{:016x}", u64::from_le_bytes(random)))
}

fn new_mark() -> StoreResult<Vec<u8>> {
    let mut mark = vec![0; 4];
    getrandom::fill(&mut mark).map_err(|error| error.to_string())?;
    Ok(mark)
}

impl Session {
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Session { pool, state: None, lost: None, unstored: FIRST_UNSTORED }
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// The highest position that was seen.
    pub(super) fn position(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.position)
    }

    /// Begins to use the namespace, unless that was done.
    pub(super) fn attach(&mut self, cancel: &CancelToken) -> StoreResult<()> {
        if self.state.is_some() {
            return Ok(());
        }
        let user = if self.pool.read_only() { String::new() } else { random_name()? };
        let mut tries = 0;
        loop {
            let ended = self.pool.take_ended();
            let mut arguments = vec![user.clone().into_bytes(), new_mark()?];
            arguments.extend(ended.iter().cloned().map(String::into_bytes));
            let keys = self.pool.keys(&["meta", "log", "users"], []);
            let answer = self.pool.run(&scripts::ATTACH, &keys, &arguments, true, cancel).inspect_err(|_| {
                self.pool.put_ended(ended);
            })?;
            let (word, mut parts) = split(answer).ok_or_else(|| self.pool.strange())?;
            match (word.as_slice(), number(parts.next()), parts.next(), parts.next()) {
                (b"ok", Some(position), Some(Value::BulkString(mark)), Some(Value::BulkString(epoch))) => {
                    let seen = Arc::new(Seen::default());
                    seen.position.store(position, Ordering::SeqCst);
                    self.pool.add_user(&user, &seen);
                    let (told, renewed) = (position, Instant::now());
                    self.state = Some(State {
                        user,
                        epoch,
                        position,
                        mark,
                        own: position,
                        told,
                        is_asked: false,
                        renewed,
                        seen,
                    });
                    return Ok(());
                }
                (b"new", ..) if tries == 0 => {
                    tries += 1;
                    self.create(&user, cancel)?;
                }
                (b"format", ..) => return Err(self.pool.error("its format is that of a later version of luacell")),
                _ => return Err(self.pool.strange()),
            }
        }
    }

    /// Makes the namespace, when there is none.
    fn create(&self, user: &str, cancel: &CancelToken) -> StoreResult<()> {
        let arguments = [user.as_bytes().to_vec(), FIRST_FREE.to_string().into_bytes()];
        let keys = self.pool.keys(&["meta", "log", "format", "versions", "commits", "next", "t:1"], []);
        let answer = self.pool.run(&scripts::CREATE, &keys, &arguments, true, cancel)?;
        let (word, mut parts) = split(answer).ok_or_else(|| self.pool.strange())?;
        match word.as_slice() {
            b"ok" => Ok(()),
            b"none" => Err(self.pool.error("there is nothing to read; opening it for writing creates the namespace, or converts it to the current format")),
            b"format" => {
                let format = parts.next().and_then(bytes).flatten().unwrap_or_default();
                let format = String::from_utf8_lossy(&format).into_owned();
                Err(self.pool.error(&format!("it holds '{format}', which this version of luacell does not read")))
            }
            b"lost" => Err(self.lost_key(parts.next())),
            _ => Err(self.pool.strange()),
        }
    }

    /// Some of what is there belongs to something that is not.
    fn lost_key(&self, key: Option<Value>) -> StoreError {
        let key = key.and_then(bytes).flatten().unwrap_or_default();
        let key = String::from_utf8_lossy(&key).into_owned();
        self.pool.error(&format!(
            "the server has lost a part of it ('{key}', or what was known about it): restore a backup, or delete all of its keys"
        ))
    }

    /// Runs a script that begins with `check.lua`. `keys` come after `meta`.
    pub(super) fn call(
        &mut self,
        script: &Script,
        keys: &[String],
        arguments: &[Vec<u8>],
        repeatable: bool,
        cancel: &CancelToken,
    ) -> StoreResult<Answer> {
        loop {
            self.attach(cancel)?;
            if let Some(lost) = &self.lost {
                return Err(lost.clone().into());
            }
            let Some(state) = &mut self.state else { return Err(self.pool.strange()) };
            if state.renewed.elapsed() > RENEWAL && !state.user.is_empty() {
                state.renewed = Instant::now();
                let keys = self.pool.keys(&["meta", "log", "users"], []);
                self.done(&scripts::RENEW, &keys, &[], true, cancel)?;
                continue;
            }
            let head = [
                state.user.as_bytes().to_vec(),
                state.epoch.clone(),
                state.position.to_string().into_bytes(),
                state.own.to_string().into_bytes(),
                state.mark.clone(),
                new_mark()?,
            ];
            state.seen.is_busy.store(true, Ordering::SeqCst);
            let answer = self.pool.run(script, keys, &[&head, arguments].concat(), repeatable, cancel);
            let answer = answer.and_then(|answer| split(answer).ok_or_else(|| self.pool.strange()));
            if let Ok((_, parts)) = &answer
                && let Some(Value::Int(position)) = parts.as_slice().first()
            {
                state.seen.position.fetch_max((*position).cast_unsigned(), Ordering::SeqCst);
            }
            state.seen.is_busy.store(false, Ordering::SeqCst);
            let (word, mut parts) = answer?;
            match word.as_slice() {
                b"ok" | [b'0'..=b'9', ..] => {
                    let wanted = std::str::from_utf8(&word).ok().and_then(|word| word.parse::<u64>().ok());
                    state.is_asked = wanted.is_some_and(|wanted| state.told <= wanted);
                    let (Some(position), Some(Some(mark))) = (number(parts.next()), parts.next().and_then(bytes))
                    else {
                        return Err(self.pool.strange());
                    };
                    (state.position, state.mark) = (position, mark);
                    return Ok(Answer::Done(parts));
                }
                b"epoch" => {
                    let now = parts.next().and_then(bytes).flatten().unwrap_or_default();
                    let epochs = parts.next().and_then(bytes).flatten().unwrap_or_default();
                    if now.is_empty() {
                        self.follow(&epochs)?;
                    } else {
                        state.epoch = now;
                    }
                }
                b"pending" => {
                    let name = parts.next().and_then(bytes).flatten().ok_or_else(|| self.pool.strange())?;
                    self.help(&name, cancel)?;
                }
                // An earlier commit, of which nobody knew what became of it.
                b"own" => state.own = number(parts.next()).ok_or_else(|| self.pool.strange())?,
                b"gone" => {
                    return Err(self.pool.error(
                        "the server has lost all of it; a store that is opened again begins with what is there now",
                    ));
                }
                b"back" => return Err(self.forgotten()),
                b"left" => {
                    return Err(self.lose("the server does not know this sandbox: it has lost what was stored last, or the sandbox was not used for more than a day while another one removed what nobody needs"));
                }
                b"lost" => return Err(self.lost_key(parts.next())),
                _ => return Ok(Answer::Not(word)),
            }
        }
    }

    /// As `call`, for what is done or fails.
    pub(super) fn done(
        &mut self,
        script: &Script,
        keys: &[String],
        arguments: &[Vec<u8>],
        repeatable: bool,
        cancel: &CancelToken,
    ) -> StoreResult<std::vec::IntoIter<Value>> {
        match self.call(script, keys, arguments, repeatable, cancel)? {
            Answer::Done(parts) => Ok(parts),
            Answer::Not(_) => Err(self.pool.strange()),
        }
    }

    /// Notes a commit of this user.
    pub(super) fn committed(&mut self) {
        if let Some(state) = &mut self.state {
            state.own = state.position;
        }
    }

    /// This user has told what it holds.
    pub(super) fn told(&mut self) {
        self.committed();
        if let Some(state) = &mut self.state {
            (state.told, state.is_asked) = (state.position, false);
        }
    }

    /// Whether somebody wants to know what this user holds.
    pub(super) fn is_asked(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.is_asked && !state.user.is_empty())
    }

    pub(super) fn user(&self) -> &str {
        self.state.as_ref().map_or("", |state| &state.user)
    }

    /// What other users in this process have seen, as far as that is certain.
    pub(super) fn others(&self) -> HashMap<String, u64> {
        self.pool.users()
    }

    /// Never goes on.
    fn lose(&mut self, why: &str) -> StoreError {
        let error = self.pool.error(why);
        self.lost = Some(error.to_string());
        error
    }

    fn forgotten(&mut self) -> StoreError {
        self.lose(
            "the server has forgotten something that this sandbox has seen (it was started with older data, or a replica took its place); a sandbox with a store that is opened anew \
             begins with what is there",
        )
    }

    /// The server is another one, or was started anew. That is nothing to this user if all that it saw is there: every
    /// epoch that it does not know of began later.
    fn follow(&mut self, epochs: &[u8]) -> StoreResult<()> {
        let Some(state) = &mut self.state else { return Ok(()) };
        let epochs = String::from_utf8_lossy(epochs);
        let epochs = || epochs.lines().filter_map(|line| line.split_once(' '));
        let known = epochs().position(|(epoch, _)| epoch.as_bytes() == state.epoch);
        let goes_on = known.is_some_and(|known| {
            let mut later = epochs().skip(known + 1);
            later.all(|(_, began)| began.parse::<u64>().is_ok_and(|began| began >= state.position))
        });
        match epochs().next_back() {
            Some((epoch, _)) if goes_on => {
                state.epoch = epoch.as_bytes().to_vec();
                Ok(())
            }
            _ => Err(self.forgotten()),
        }
    }

    /// Somebody's large commit is under way. It has to be done before anything else; when its client does not go on, by
    /// whoever comes.
    fn help(&self, name: &[u8], cancel: &CancelToken) -> StoreResult<()> {
        let list = name.split(|byte| *byte == b' ').next().unwrap_or_default();
        let list = format!("commit:{}", String::from_utf8_lossy(list));
        let keys = self.pool.keys(&["meta", &list], []);
        let (mut before, mut helps) = (None, false);
        loop {
            let answer = self.pool.run(&scripts::PEEK, &keys, &[name.to_vec()], true, cancel)?;
            let (_, mut parts) = split(answer).ok_or_else(|| self.pool.strange())?;
            let Some(left) = number(parts.next()) else { return Ok(()) };
            helps |= before == Some(left);
            if !helps {
                before = Some(left);
                self.pool.wait(HELP_AFTER, cancel)?;
                continue;
            }
            let tables = parts.next().and_then(bytes).flatten();
            let tables = tables.ok_or_else(|| self.lost_key(Some(Value::BulkString(list.clone().into_bytes()))))?;
            let tables = String::from_utf8(tables).map_err(|_| self.pool.strange())?;
            let tables: Vec<u32> = tables.split(',').filter_map(|id| id.parse().ok()).collect();
            self.apply(&list, name, left, &tables, cancel)?;
        }
    }

    /// Makes the next part of a large commit. Once more does no harm.
    pub(super) fn apply(
        &self,
        list: &str,
        name: &[u8],
        left: u64,
        tables: &[u32],
        cancel: &CancelToken,
    ) -> StoreResult<()> {
        let keys = self.pool.keys(&["meta", "log", list, "grey"], tables.iter().copied());
        // For `common.lua`, which wants to know who it is.
        let arguments = [Vec::new(), name.to_vec(), left.to_string().into_bytes()];
        let answer = self.pool.run(&scripts::APPLY, &keys, &arguments, true, cancel)?;
        match split(answer).ok_or_else(|| self.pool.strange())? {
            (word, _) if word == b"ok" => Ok(()),
            (_, mut parts) => Err(self.lost_key(parts.next())),
        }
    }

    /// Sets a part of a large commit aside, behind so many elements.
    pub(super) fn stage(&mut self, list: &str, before: usize, part: Part, cancel: &CancelToken) -> StoreResult<()> {
        let keys = self.pool.keys(&["meta", "log", list], part.tables.iter().copied());
        let [tables, writes, references] = part.into_elements();
        let arguments = [STAGED.to_string().into_bytes(), before.to_string().into_bytes(), tables, writes, references];
        self.done(&scripts::STAGE, &keys, &arguments, true, cancel).map(drop)
    }

    pub(super) fn reserve(&mut self, count: u32, cancel: &CancelToken) -> StoreResult<u32> {
        if self.pool.read_only() {
            let first = self.unstored;
            self.unstored =
                first.checked_add(count).filter(|end| *end < u32::MAX).ok_or("no table numbers are left")?;
            return Ok(first);
        }
        let keys = self.pool.keys(&["meta", "log"], []);
        let arguments = [count.to_string().into_bytes(), FIRST_UNSTORED.to_string().into_bytes()];
        // Numbers that nobody got are no loss.
        match self.call(&scripts::RESERVE, &keys, &arguments, true, cancel)? {
            Answer::Done(mut parts) => {
                if count > 0 {
                    self.committed();
                }
                number(parts.next()).and_then(|first| u32::try_from(first).ok()).ok_or_else(|| self.pool.strange())
            }
            Answer::Not(word) if word == b"full" => Err("no table numbers are left".into()),
            Answer::Not(_) => Err(self.pool.strange()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(state) = self.state.take()
            && !state.user.is_empty()
            && !self.pool.is_of_other_process()
        {
            self.pool.remove_user(state.user);
        }
    }
}
