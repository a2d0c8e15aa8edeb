//! Calls of host functions that are answered later: the run waits as a value, with nothing of it on any stack.

use std::collections::BTreeMap;
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
    /// Answers for the guest, as it takes them.
    answers: Vec<u8>,
}

/// A call that whoever has started the run answers.
#[derive(Clone)]
pub(crate) struct OpenRequest {
    pub(crate) name: Arc<str>,
    pub(crate) args: Vec<Value>,
}

impl Requests {
    /// The guest does not wait for that any more.
    pub(crate) fn drop_request(&mut self, number: u32) {
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
    pub(crate) fn add_answer(&mut self, number: u32, result: Result<Result<Vec<Value>>, ErrorKind>) {
        let host = self.host();
        let mut values = Vec::new();
        let answer = Answer::of(result, &mut values);
        let mut bytes = Vec::new();
        encode(host, answer, &values, &mut bytes);
        host.run.attempt.causes = Default::default();
        let answers = &mut host.run.attempt.requests().answers;
        answers.extend_from_slice(&number.to_le_bytes());
        answers.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        answers.extend_from_slice(&bytes);
    }

    /// What was answered since the run went on last, as the guest takes it.
    pub(crate) fn take_answers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.host().run.attempt.requests().answers)
    }

    /// The run goes on with what was answered.
    pub(crate) fn resume_run(&mut self, answers: &[u8]) -> Result<i32> {
        self.reserve(answers.len())?;
        self.write(&[answers])?;
        self.execute(Entry::Resume { len: answers.len() as i32 })
    }

    /// The first step of a checkpoint: the guest hands over what is still to be stored. Where the memory that it uses
    /// ends, and the tables that Lua holds.
    pub(crate) fn hand_over(&mut self) -> Result<(usize, Vec<u32>)> {
        let len = u32::try_from(self.begin_checkpoint()?)
            .map_err(|_| Error::new(ErrorKind::Memory, "there is no memory to store the run"))?;
        self.refresh_buffer()?;
        let mut reader = ByteReader::new(self.result(len)?);
        let end = reader.u32().ok_or_else(|| Error::internal("the guest's checkpoint makes no sense").fatal())?;
        Ok((end as usize, std::iter::from_fn(|| reader.u32()).collect()))
    }

    /// What a run that was restored waits for.
    pub(crate) fn restore_requests(&mut self, resolver: &SandboxResolver) -> Result<()> {
        let broken = || Error::internal("the guest's list of requests makes no sense").fatal();
        let len = u32::try_from(self.list_requests()?).map_err(|_| broken())?;
        self.refresh_buffer()?;
        let list = self.result(len)?.to_vec();
        let mut reader = ByteReader::new(&list);
        let mut open = BTreeMap::new();
        while let Some(request) = reader.u32() {
            let (number, len) = (reader.u32().ok_or_else(broken)?, reader.u32().ok_or_else(broken)?);
            let args = codec::decode(reader.take(len as usize).ok_or_else(broken)?, resolver)?;
            let host = self.host();
            let function = number.cast_signed();
            let names = &host.run.attempt.requests().names;
            let name = names.iter().find(|(known, _)| *known == function).map(|(_, name)| Arc::clone(name));
            let name = name.unwrap_or_else(|| match number {
                SLEEP => "task.sleep".into(),
                // Added since, under a number that the snapshot does not know.
                _ => host.functions.name(function),
            });
            open.insert(request, OpenRequest { name, args });
        }
        self.host().run.attempt.requests().open = open;
        Ok(())
    }

    /// These answers were given to the run that was restored.
    pub(crate) fn forget_answered(&mut self, answers: &[u8]) {
        let mut reader = ByteReader::new(answers);
        let open = &mut self.host().run.attempt.requests().open;
        while let (Some(number), Some(len)) = (reader.u32(), reader.u32()) {
            open.remove(&number);
            reader.take(len as usize);
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

/// Nobody answers such a call in this run.
pub(crate) fn nobody_answers(name: &str) -> Error {
    Error::host(format!("'{name}' is answered by whoever starts the run: use `start`"))
}
