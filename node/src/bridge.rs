//! Calls of JavaScript: directly on its own thread, through its queue from any other.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use async_channel::Sender;
use luacell::{Error, ErrorKind, LanguageClass, Value, wire};
use napi::bindgen_prelude::{FnArgs, Function, FunctionRef};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Status};
use napi_derive::napi;

use crate::callables::Callables;
use crate::classes;
use crate::failure::Thrown;
use crate::handles::Handles;
use crate::jobs;
use crate::value::{FromJs, ToJs, encode};

/// Sandbox, call (0 when the answer is what is returned), function, number of arguments (-1: the first one is all of
/// them, encoded), and the first three.
type CallArgs = FnArgs<(u32, u32, u32, i32, ToJs, ToJs, ToJs)>;
/// What it is about, sandbox, call or job, a number, and the rest.
type NoteArgs = FnArgs<(u32, u32, u32, u32, ToJs)>;

/// What a note is about.
#[derive(Clone, Copy)]
pub(crate) enum Topic {
    /// A job is done.
    Done = 0,
    /// A host function is called; the number is the function.
    Call = 1,
    /// Something was printed.
    Print = 2,
    /// The user's store is asked; the number is the operation.
    Store = 3,
    /// A module is wanted.
    Module = 4,
    /// Functions and objects of JavaScript's were dropped.
    Dropped = 5,
}

/// Something that JavaScript is told.
pub(crate) struct Note {
    topic: Topic,
    sandbox: u32,
    id: u32,
    number: u32,
    rest: ToJs,
}

thread_local! {
    /// The environment of this thread's JavaScript, where there is one.
    static ENV: Cell<Option<Env>> = const { Cell::new(None) };
}

/// The environment of this thread's JavaScript, where there is one.
pub(crate) fn env() -> Option<Env> {
    ENV.get()
}

type Queue = ThreadsafeFunction<Note, FromJs, NoteArgs, Status, false, true>;

/// The way into one JavaScript environment, of the main thread or of a worker.
pub(crate) struct Bridge {
    thread: ThreadId,
    on_call: FunctionRef<CallArgs, FromJs>,
    on_note: FunctionRef<NoteArgs, FromJs>,
    queue: Queue,
    pub(crate) callables: Callables,
    classes: Mutex<HashMap<u32, LanguageClass>>,
    waiting: Mutex<HashMap<u32, Asker>>,
    next: AtomicU32,
    closed: AtomicBool,
}

/// Who waits for an answer.
struct Asker {
    sender: Sender<Answered>,
    handles: Arc<Handles>,
}

/// What JavaScript answered, on its way to another thread.
enum Answered {
    Unread(FromJs),
    Read(Result<Vec<Value>, Error>),
}

/// What JavaScript holds of the bridge.
#[napi]
pub struct Connection(pub(crate) Arc<Bridge>);

#[napi]
impl Connection {
    /// `onCall` is called for host functions, `onNote` for everything else.
    #[napi(constructor)]
    pub fn new(
        env: Env,
        #[napi(
            ts_arg_type = "(sandbox: number, call: number, fn: number, n: number, a: unknown, b: unknown, c: unknown) => unknown"
        )]
        on_call: Function<CallArgs, FromJs>,
        #[napi(ts_arg_type = "(topic: number, sandbox: number, id: number, number: number, rest: unknown) => unknown")]
        on_note: Function<NoteArgs, FromJs>,
    ) -> napi::Result<Self> {
        ENV.set(Some(env));
        let queue = on_note.build_threadsafe_function::<Note>().weak::<true>().build_callback(|context| {
            let Note { topic, sandbox, id, number, rest } = context.value;
            Ok(FnArgs::from((topic as u32, sandbox, id, number, rest)))
        })?;
        Ok(Connection(Arc::new(Bridge {
            thread: std::thread::current().id(),
            on_call: on_call.create_ref()?,
            on_note: on_note.create_ref()?,
            queue,
            callables: Callables::default(),
            classes: Mutex::default(),
            waiting: Mutex::default(),
            next: AtomicU32::new(1),
            closed: AtomicBool::new(false),
        })))
    }

    /// The answer to a call that came through the queue; `linked` says that it refers to functions or tables, which
    /// JavaScript only holds for now.
    #[napi]
    pub fn answer(&self, call: u32, #[napi(ts_arg_type = "unknown")] value: FromJs, linked: bool) {
        // Nobody waits any more when the run has ended.
        let Some(Asker { sender, handles }) = self.0.waiting().remove(&call) else { return };
        let answer = if linked { Answered::Read(results(value, &handles)) } else { Answered::Unread(value) };
        let _ = sender.try_send(answer);
    }

    /// What the objects of a class offer: the kind and the name of each member, whose number is its place here.
    #[napi]
    pub fn describe_class(&self, number: u32, name: String, kinds: Vec<u32>, names: Vec<String>) {
        let class = classes::describe(number, &name, kinds.into_iter().zip(names));
        self.0.classes().insert(number, class);
    }

    /// JavaScript has no object of the class any more.
    #[napi]
    pub fn forget_class(&self, number: u32) {
        let _class = self.0.classes().remove(&number);
    }

    /// Which functions and objects JavaScript need no longer keep, of those that were dropped and of `others`.
    #[napi]
    pub fn unheld(&self, others: Vec<u32>, is_note: bool) -> Vec<u32> {
        self.0.callables.unheld(others, is_note)
    }
}

impl Drop for Connection {
    /// The environment ends: nobody will answer any more.
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.waiting().clear();
    }
}

/// Takes a call back from those that are waited for.
struct Waiting<'a>(&'a Bridge, u32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting().remove(&self.1);
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Closed, "the JavaScript environment of this sandbox has ended")
}

impl Bridge {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u32, Asker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn classes(&self) -> MutexGuard<'_, HashMap<u32, LanguageClass>> {
        self.classes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn class(&self, number: u32) -> Option<LanguageClass> {
        self.classes().get(&number).cloned()
    }

    pub(crate) fn is_here(&self) -> bool {
        std::thread::current().id() == self.thread
    }

    /// Puts a note into the queue.
    pub(crate) fn send(&self, topic: Topic, sandbox: u32, id: u32, number: u32, rest: ToJs) -> bool {
        let note = Note { topic, sandbox, id, number, rest };
        !self.closed.load(Ordering::SeqCst)
            && self.queue.call(note, ThreadsafeFunctionCallMode::NonBlocking) == Status::Ok
    }

    /// Calls a host function on this thread, which is JavaScript's.
    fn call(
        &self,
        sandbox: u32,
        function: u32,
        args: &[Value],
        handles: &Handles,
        exact: bool,
    ) -> Result<Vec<Value>, Error> {
        let env = ENV.get().ok_or_else(gone)?;
        let (n, a, b, c) = parameters(args, handles, exact)?;
        handles.within(|| {
            let answer = env.run_in_scope(|| {
                let on_call = self.on_call.borrow_back(&env)?;
                on_call.call(FnArgs::from((sandbox, 0, function, n, a, b, c)))
            });
            results(answer.map_err(|e| Error::host(e.to_string()))?, handles)
        })
    }

    /// Asks JavaScript through its queue, and waits.
    async fn ask(
        &self,
        topic: Topic,
        sandbox: u32,
        number: u32,
        rest: ToJs,
        handles: &Arc<Handles>,
    ) -> Result<Vec<Value>, Error> {
        let (sender, receiver) = async_channel::bounded(1);
        let id = self.next.fetch_add(1, Ordering::Relaxed).max(1);
        self.waiting().insert(id, Asker { sender, handles: Arc::clone(handles) });
        let _waiting = Waiting(self, id);
        if !self.send(topic, sandbox, id, number, rest) {
            return Err(gone());
        }
        match receiver.recv().await.map_err(|_| gone())? {
            Answered::Unread(answer) => results(answer, handles),
            Answered::Read(results) => results,
        }
    }

    /// Asks JavaScript from whatever thread this is, which waits.
    pub(crate) fn ask_now(
        &self,
        topic: Topic,
        sandbox: u32,
        number: u32,
        rest: ToJs,
        handles: &Arc<Handles>,
    ) -> Result<Vec<Value>, Error> {
        if !self.is_here() {
            return jobs::block_on(self.ask(topic, sandbox, number, rest, handles));
        }
        results(self.ask_here(topic, sandbox, number, rest)?, handles)
    }

    fn ask_here(&self, topic: Topic, sandbox: u32, number: u32, rest: ToJs) -> Result<FromJs, Error> {
        let env = ENV.get().ok_or_else(gone)?;
        let answer = env.run_in_scope(|| {
            let on_note = self.on_note.borrow_back(&env)?;
            on_note.call(FnArgs::from((topic as u32, sandbox, 0, number, rest)))
        });
        answer.map_err(|e| Error::host(e.to_string()))
    }

    /// Tells JavaScript something that has no answer.
    pub(crate) fn tell(&self, topic: Topic, sandbox: u32, rest: ToJs) {
        if self.is_here() {
            let _ = self.ask_here(topic, sandbox, 0, rest);
        } else {
            self.send(topic, sandbox, 0, 0, rest);
        }
    }
}

/// Up to three simple values as themselves, everything else encoded.
#[inline]
fn parameters(args: &[Value], handles: &Handles, exact: bool) -> Result<(i32, ToJs, ToJs, ToJs), Error> {
    if args.len() <= 3 && !exact {
        let mut simple = [ToJs::Nothing, ToJs::Nothing, ToJs::Nothing];
        let mut all = true;
        for (out, value) in simple.iter_mut().zip(args) {
            match ToJs::simple(value) {
                Some(value) => *out = value,
                None => all = false,
            }
        }
        if all {
            let [a, b, c] = simple;
            return Ok((args.len() as i32, a, b, c));
        }
    }
    Ok((-1, ToJs::Bytes(encode(args, handles)?), ToJs::Nothing, ToJs::Nothing))
}

/// How an encoded answer begins.
mod status {
    pub(super) const RESULTS: u8 = 0;
    pub(super) const THROWN: u8 = 1;
    pub(super) const RAISED: u8 = 2;
    pub(super) const NESTED: u8 = 3;
    /// As THROWN, of a store: somebody else has changed it.
    pub(super) const CONFLICT: u8 = 4;
}

/// An exception: its number, and its text, of which the script sees the first part.
fn thrown(bytes: &[u8]) -> Option<(Thrown, String)> {
    let (number, rest) = bytes.split_first_chunk()?;
    let (shown, texts) = rest.split_first_chunk()?;
    let (shown, message) = texts.split_at_checked(u32::from_le_bytes(*shown) as usize)?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Some((Thrown { number: u32::from_le_bytes(*number), message: text(message) }, text(shown)))
}

fn host_error((thrown, shown): (Thrown, String)) -> Error {
    let is_whole = shown == thrown.message;
    let error = Error::host(thrown);
    if is_whole { error } else { error.shown_as(&shown) }
}

/// What JavaScript answered: a simple value, or a status and what belongs to it.
pub(crate) fn results(answer: FromJs, handles: &Handles) -> Result<Vec<Value>, Error> {
    let bytes = match answer {
        FromJs::Nothing => return Ok(Vec::new()),
        FromJs::Bytes(bytes) => bytes,
        simple => return Ok(vec![simple.value(handles)?]),
    };
    let malformed = || Error::new(ErrorKind::Internal, "a malformed answer from JavaScript");
    let (status, rest) = bytes.split_first().ok_or_else(malformed)?;
    match *status {
        status::RESULTS => wire::decode(rest, handles),
        status::THROWN => Err(host_error(thrown(rest).ok_or_else(malformed)?)),
        status::CONFLICT => {
            let (thrown, _) = thrown(rest).ok_or_else(malformed)?;
            Err(Error::new(ErrorKind::Conflict, thrown.message.clone()).with_source(thrown))
        }
        status::RAISED => Err(Error::raise(wire::decode(rest, handles)?.into_iter().next().unwrap_or_default())),
        status::NESTED => {
            let (nested, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
            let behind = thrown(rest).ok_or_else(malformed)?;
            let Some(error) = handles.error(u32::from_le_bytes(*nested)) else {
                return Err(host_error(behind));
            };
            if std::error::Error::source(&error).is_some() {
                return Err(error);
            }
            // It passes through as it was, or comes out as the cause: then it is the object that was thrown.
            let thrown = Thrown { number: behind.0.number, message: error.message().to_owned() };
            Err(error.with_source(thrown))
        }
        _ => Err(malformed()),
    }
}

/// What a sandbox is known by where it calls JavaScript.
pub(crate) struct Caller {
    pub(crate) bridge: Arc<Bridge>,
    pub(crate) handles: Arc<Handles>,
    pub(crate) sandbox: u32,
    pub(crate) exact: bool,
}

impl Caller {
    /// Calls a host function.
    pub(crate) fn call(self: &Arc<Self>, function: u32, args: Vec<Value>) -> Answer {
        let caller = Arc::clone(self);
        // It starts when it is polled: only then may it use the sandbox that calls.
        Box::pin(async move {
            let Caller { bridge, handles, sandbox, exact } = &*caller;
            if bridge.is_here() {
                return bridge.call(*sandbox, function, &args, handles, *exact);
            }
            let args = ToJs::Bytes(encode(&args, handles)?);
            bridge.ask(Topic::Call, *sandbox, function, args, handles).await
        })
    }
}

pub(crate) type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Vec<Value>, Error>> + Send>>;
