//! Calls of declared functions: each is a request, which whoever started the run answers. Until then nothing of the run
//! is on any stack.

use std::collections::BTreeMap;

use crate::message::Reader;
use crate::{Error, Message};

/// A call that waits for its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub id: u32,
    /// The function's name.
    pub name: String,
    pub args: Message,
}

/// The function behind `task.sleep`.
const SLEEP: u32 = 0xffff_ffff;

// How answers begin. The last one is complete: it ends the run, and the script can't catch it.
pub(crate) const RESULTS: &[u8] = &[0];
pub(crate) const FAILED: &[u8] = &[1, 1, 0, 0, 0, 0]; // the message gets the place of the call in front
const WAITING: &[u8] = &[4];
const INTERRUPTED: &[u8] = &[2, 6, 0, 0, 0];

#[derive(Default)]
pub(crate) struct Requests {
    /// Whether there is a run that its starter answers.
    pub started: bool,
    /// What it waits for.
    pub open: BTreeMap<u32, Request>,
    /// The answers that were given, as the export `resume` takes them.
    pub answers: Vec<u8>,
    names: Vec<String>,
    said: Vec<u8>,
}

impl Requests {
    /// Gives a function its number.
    pub fn declare(&mut self, name: &str) -> u32 {
        self.names.push(name.to_owned());
        (self.names.len() - 1) as u32
    }

    /// Takes what the guest asks on the host channel; `None` for what this host does not offer.
    pub fn handle(&mut self, request: &[u8]) -> Option<&[u8]> {
        let mut request = Reader(request);
        match request.u8().ok()? {
            // The answer just given, for which the buffer was too small.
            0x00 => {}
            0x01 => self.said = self.call(request.u32().ok()?, None, &[])?,
            0x09 => {
                let (number, id) = (request.u32().ok()?, request.u32().ok()?);
                self.said = self.call(number, Some(id), request.0)?;
            }
            // Nobody waits for this one any more.
            0x0a => {
                self.open.remove(&request.u32().ok()?);
                self.said.clear();
            }
            _ => return None,
        }
        Some(&self.said)
    }

    /// `id` is `None` where the script can't wait; the guest tells it so.
    fn call(&mut self, number: u32, id: Option<u32>, args: &[u8]) -> Option<Vec<u8>> {
        let name = match number {
            SLEEP => "task.sleep",
            _ => self.names.get(usize::try_from(number).ok()?)?,
        };
        if !self.started {
            let message = format!("'{name}' is answered by whoever starts the run");
            return Some([FAILED, &Message::new([message.as_str().into()]).encode().ok()?].concat());
        }
        if let Some(id) = id {
            let request = Request { id, name: name.to_owned(), args: Message::decode(args).ok()? };
            self.open.insert(id, request);
        }
        Some(WAITING.into())
    }

    /// Takes the answer to an open request.
    pub fn settle(&mut self, id: u32, status: &[u8], values: &Message) -> Result<(), Error> {
        let answer = [status, &values.encode()?].concat();
        let length = u32::try_from(answer.len()).map_err(|_| Error::Unsendable("more than 4 GiB"))?;
        self.open.remove(&id).ok_or(Error::Run("nothing waits for this answer"))?;
        self.answers.extend([id.to_le_bytes(), length.to_le_bytes()].as_flattened());
        self.answers.extend(answer);
        Ok(())
    }

    /// Makes an answer that ends the run the only one, if it waits for anything.
    pub fn interrupt(&mut self) {
        let answered = self.answers.first_chunk().map(|id| u32::from_le_bytes(*id));
        let id = self.open.keys().next().copied().or(answered).unwrap_or(0); // 0: no request
        let length = INTERRUPTED.len() as u32;
        self.open.clear();
        self.answers = [id.to_le_bytes().as_slice(), &length.to_le_bytes(), INTERRUPTED].concat();
    }

    /// The run goes: the guest has the answers.
    pub fn begin(&mut self) {
        self.started = true;
        self.answers.clear();
    }

    /// The run has ended: nobody waits for anything any more.
    pub fn end(&mut self) {
        self.started = false;
        self.open.clear();
    }
}
