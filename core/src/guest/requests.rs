//! Calls of host functions that are answered later: the run waits as a value, with nothing of it on any stack.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::GuestMut;
#[cfg(feature = "async")]
use super::host_functions::Pending;
use super::host_functions::{Answer, encode};
use super::resolver::SandboxResolver;
use crate::machine::Entry;
use crate::protocol::SLEEP;
use crate::protocol::code::RUN_WAITS;
use crate::util::ByteReader;
use crate::value::{Error, ErrorKind, Result, Value, codec};

/// Who answers calls that are not answered at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Nobody: the thread waits for futures, and nothing else can be waited for.
    #[default]
    Never,
    /// Whoever polls the run, which is a future.
    #[cfg(feature = "async")]
    Driven,
    /// Whoever has started it.
    Started,
}

/// What a run waits for.
#[derive(Default)]
pub(crate) struct Requests {
    /// By the numbers that the guest gave them. In the order in which they came.
    pub(crate) open: BTreeMap<u32, OpenRequest>,
    /// Futures that nobody has begun to drive.
    #[cfg(feature = "async")]
    pub(crate) begun: Vec<(u32, Pending)>,
    /// Requests that nobody waits for any more.
    #[cfg(feature = "async")]
    pub(crate) dropped: Vec<u32>,
    /// The functions' names where the run comes from, if it came with a snapshot.
    pub(crate) names: Vec<(i32, Arc<str>)>,
    /// Something of the run was run by what it waits for: tasks of it may go on without any answer.
    pub(crate) may_go_on: bool,
    /// Answers for the guest.
    answers: Vec<Answered>,
    /// How much memory the arguments of requests take that have no answer yet, and of all together.
    sizes: HashMap<u32, u64>,
    held: u64,
}

/// So many bytes of answers the guest takes at a time, or a larger one alone.
const PORTION: usize = 1 << 16;

/// A request that was answered: with its results or an error.
pub(crate) type Answered = (u32, Result<Vec<Value>>);

/// A call that whoever has started the run answers.
#[derive(Clone)]
pub(crate) struct OpenRequest {
    pub(crate) name: Arc<str>,
    pub(crate) args: Vec<Value>,
}

impl Requests {
    /// Whether the host may hold so much more, of what it may hold in all: a script can pass the same large text to any
    /// number of functions, which holds it once. What a single call passes was checked when it was read.
    pub(crate) fn has_room(&self, size: u64, most: u64) -> bool {
        self.held == 0 || self.held.saturating_add(size) <= most
    }

    /// The arguments of this request are held until it is answered or dropped.
    pub(crate) fn hold(&mut self, number: u32, size: u64) {
        self.release(number);
        self.held += size;
        self.sizes.insert(number, size);
    }

    fn release(&mut self, number: u32) {
        self.held -= self.sizes.remove(&number).unwrap_or_default();
    }

    /// The guest does not wait for that any more.
    pub(crate) fn drop_request(&mut self, number: u32) {
        self.release(number);
        if self.open.remove(&number).is_none() {
            #[cfg(feature = "async")]
            self.dropped.push(number);
        }
    }
}

impl GuestMut<'_> {
    /// The run that begins may wait, for whoever it is. What a guest can't do is waited for by the thread.
    pub(crate) fn set_waits(&mut self, waits: Waits) -> Result<()> {
        let can = waits != Waits::Never && self.has_waiting();
        if self.settings().waits != can {
            self.set_waiting(i32::from(can))?;
            self.settings().waits = can;
        }
        self.host().run.waits = if can { waits } else { Waits::Never };
        Ok(())
    }

    /// Keeps the answer to a request until the run goes on.
    pub(crate) fn add_answer(&mut self, number: u32, result: Result<Vec<Value>>) {
        let requests = self.host().run.attempt.requests();
        requests.release(number);
        requests.answers.push((number, result));
    }

    /// What was answered since the run went on last.
    pub(crate) fn take_answers(&mut self) -> Vec<Answered> {
        std::mem::take(&mut self.host().run.attempt.requests().answers)
    }

    /// The run goes on with these answers. They are not to be dropped before: Lua's functions among them would be.
    ///
    /// Large ones come one after another, so that there has to be room for one at a time only. An answer for which there
    /// is no room is an error of its call, as for other host functions, and not the end of the run.
    pub(crate) fn resume_run(&mut self, answers: &[Answered]) -> Result<i32> {
        let (mut portion, mut bytes) = (Vec::new(), Vec::new());
        for (number, result) in answers {
            let (answer, values) = match result {
                Ok(values) => (Answer::Results, values.as_slice()),
                Err(error) => (Answer::Error(error.clone()), Default::default()),
            };
            self.encode_answer(answer, values, &mut bytes);
            if !portion.is_empty() && portion.len() + bytes.len() > PORTION {
                let executed = self.take_answers_in(&portion);
                if !is_waiting(&executed) {
                    return executed;
                }
                portion.clear();
            }
            if bytes.len() > PORTION && !self.has_room_for_answer(bytes.len())? {
                let error = Error::new(ErrorKind::Memory, "not enough memory");
                self.encode_answer(Answer::Error(error), &[], &mut bytes);
            }
            portion.extend_from_slice(&number.to_le_bytes());
            portion.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            portion.extend_from_slice(&bytes);
        }
        self.take_answers_in(&portion)
    }

    fn take_answers_in(&mut self, answers: &[u8]) -> Result<i32> {
        self.reserve(answers.len())?;
        self.write(&[answers])?;
        self.execute(Entry::Resume { len: answers.len() as i32 })
    }

    fn encode_answer(&mut self, answer: Answer, values: &[Value], bytes: &mut Vec<u8>) {
        let host = self.host();
        encode(host, answer, values, bytes);
        host.run.attempt.causes = Default::default();
    }

    /// Whether the guest can take a large answer: in its buffer, and then as text until the call takes it.
    fn has_room_for_answer(&mut self, len: usize) -> Result<bool> {
        let has_room = match self.reserve(len.saturating_mul(2).saturating_add(PORTION)) {
            Err(error) if error.kind() == ErrorKind::Memory && !error.is_fatal() => false,
            reserved => reserved.map(|()| true)?,
        };
        self.reserve_buffer(0)?;
        self.refresh_buffer()?;
        Ok(has_room)
    }

    /// The first step of a checkpoint: the guest hands over what is still to be stored. The tables that
    /// Lua holds.
    pub(crate) fn hand_over(&mut self) -> Result<Vec<u32>> {
        let len = u32::try_from(self.begin_checkpoint()?)
            .map_err(|_| Error::new(ErrorKind::Memory, "there is no memory to store the run"))?;
        self.refresh_buffer()?;
        let mut reader = ByteReader::new(self.result(len)?);
        Ok(std::iter::from_fn(|| reader.u32()).collect())
    }

    /// What a run that was restored waits for.
    pub(crate) fn restore_requests(&mut self, resolver: &SandboxResolver) -> Result<()> {
        let broken = || Error::internal("the guest's list of requests makes no sense").fatal();
        let list = self.list_all_requests()?;
        let mut reader = ByteReader::new(&list);
        while let Some(request) = reader.u32() {
            let (number, len) = (reader.u32().ok_or_else(broken)?, reader.u32().ok_or_else(broken)?);
            let bytes = reader.take(len as usize).ok_or_else(broken)?;
            let mut args = Vec::new();
            let size = codec::decode_into(bytes, resolver, &mut args)? + bytes.len();
            let host = self.host();
            let function = number.cast_signed();
            let most = host.run.limits.memory;
            let requests = host.run.attempt.requests();
            if !requests.has_room(size as u64, most) {
                return Err(too_much_is_held());
            }
            let name = requests.names.iter().find(|(known, _)| *known == function).map(|(_, name)| Arc::clone(name));
            let name = name.unwrap_or_else(|| match number {
                SLEEP => "task.sleep".into(),
                // Added since, under a number that the snapshot does not know.
                _ => host.functions.name(function),
            });
            let requests = host.run.attempt.requests();
            requests.hold(request, size as u64);
            requests.open.insert(request, OpenRequest { name, args });
        }
        Ok(())
    }

    /// What the guest has asked, as it lists it. The list may be as large as all that Lua may have beside it, and does
    /// not count.
    fn list_all_requests(&mut self) -> Result<Vec<u8>> {
        let limited = self.has_memory_limit();
        if limited {
            self.set_memory_limit(0)?;
        }
        let len = self.list_requests()?;
        self.refresh_buffer()?;
        let list = match u32::try_from(len) {
            Ok(len) => self.result(len)?.to_vec(),
            Err(_) => return Err(Error::internal("the guest can't list its requests").fatal()),
        };
        if limited {
            self.reserve_buffer(0)?;
            self.refresh_buffer()?;
            self.set_memory_limit_again()?;
        }
        Ok(list)
    }

    /// These answers were given to the run that was restored.
    pub(crate) fn forget_answered(&mut self, answers: &[Answered]) {
        let requests = self.host().run.attempt.requests();
        for (number, _) in answers {
            requests.open.remove(number);
            requests.release(*number);
        }
    }

    /// Has a run that waits end, for the limit that was noted.
    pub(crate) fn end_waiting_run(&mut self) -> Result<i32> {
        self.review_limits()?;
        self.execute(Entry::Resume { len: 0 })
    }
}

/// Whether a run waits, by what it gave.
pub(crate) fn is_waiting(executed: &Result<i32>) -> bool {
    matches!(executed, Ok(RUN_WAITS))
}

/// So much can't be held for calls that are not answered yet.
pub(crate) fn too_much_is_held() -> Error {
    let text = "not enough memory for so many arguments in the host: memory_limit covers these too";
    Error::new(ErrorKind::Memory, text)
}

/// Nobody answers such a call in this run.
pub(crate) fn nobody_answers(name: &str) -> Error {
    Error::host(format!("'{name}' is answered by whoever starts the run: use `start`"))
}
