//! One instance of `lua.wasm`: start it, run Lua in it, read what comes back.

use wasmtime::{Instance, Linker, Memory, Module, Store, TypedFunc, WasmParams, WasmResults};

use crate::host::{self, HostState};
use crate::requests::{self, Requests};
use crate::{Error, Message, Request, Tables, protocol};

/// What an export returns whose run waits.
const WAITS: i32 = i32::MIN;

/// What the host announces to the guest.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum Revision {
    /// Five functions and no more.
    One = 1,
    /// Also results as inline tables, arguments, calls, and sizes beyond 64 KiB.
    Two,
    /// Also runs that wait.
    Three,
}

/// What a run gave.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was printed.
    pub output: Vec<u8>,
    /// All returned values.
    pub returned: Message,
}

/// Figures of a VM's memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryStats {
    /// Bytes of the I/O buffer.
    pub buffer_size: u32,
    /// Bytes in use by Lua.
    pub used: u32,
    /// Pages of 64 KiB that the guest's memory has.
    pub pages: u32,
}

/// One running Lua. After an [`Error::Wasm`] from a run it must be dropped; its tables are still good.
pub struct Vm {
    store: Store<HostState>,
    instance: Instance,
    memory: Memory,
    compute: TypedFunc<(i32, i32), i32>,
    buffer_ptr: TypedFunc<(), u32>,
    buffer_size: TypedFunc<(), u32>,
}

impl Vm {
    /// Starts a VM on `tables`. When an earlier VM has worked on them, `next_table_id` is what that one said;
    /// otherwise 0.
    pub fn new(module: &Module, tables: Tables, next_table_id: u32, revision: Revision) -> Result<Self, Error> {
        let mut linker = Linker::new(module.engine());
        host::define(&mut linker)?;
        let mut store = Store::new(module.engine(), HostState { tables, revision, requests: Requests::default() });
        let instance = linker.instantiate(&mut store, module)?;
        let memory = instance
            .get_memory(&mut store, "memory")
            .ok_or_else(|| protocol("the module does not export its memory"))?;
        let compute = instance.get_typed_func(&mut store, "compute")?;
        let buffer_ptr = instance.get_typed_func(&mut store, "get_buffer_ptr")?;
        let buffer_size = instance.get_typed_func(&mut store, "get_buffer_size")?;
        let mut vm = Self { store, instance, memory, compute, buffer_ptr, buffer_size };

        if vm.export::<_, i32>("init", ())? != 0 {
            return Err(protocol("init failed"));
        }
        if next_table_id > 0 {
            vm.export::<_, ()>("sync_external_table_counter", next_table_id)?;
        }
        if revision >= Revision::Two {
            vm.export::<_, ()>("set_host_revision", revision as i32)?;
        }
        if revision >= Revision::Three {
            // All runs may; `Requests` refuses those that were not started.
            vm.export::<_, ()>("set_waiting", 1)?;
        }
        Ok(vm)
    }

    /// Runs Lua source.
    pub fn compute(&mut self, source: impl AsRef<[u8]>) -> Result<Outcome, Error> {
        let source = source.as_ref();
        self.write(&[source])?;
        let ptr = self.buffer_ptr.call(&mut self.store, ())?;
        let result = self.compute.call(&mut self.store, (ptr as i32, length(source)?))?;
        self.finish(result)
    }

    /// The same with a chunk name ("" for the usual one) and values for the chunk's `...` (revision 2).
    pub fn compute_named(&mut self, name: &str, source: impl AsRef<[u8]>, args: &Message) -> Result<Outcome, Error> {
        self.needs(Revision::Two, "names and arguments")?;
        let (source, args) = (source.as_ref(), args.encode()?);
        self.write(&[name.as_bytes(), source, &args])?;
        let lengths = (length(name.as_bytes())?, length(source)?, length(&args)?);
        let result = self.export("compute_named", lengths)?;
        self.finish(result)
    }

    /// Calls the global function `path`, in which dots reach into tables (revision 2).
    pub fn call(&mut self, path: &str, args: &Message) -> Result<Outcome, Error> {
        self.needs(Revision::Two, "calls")?;
        let args = args.encode()?;
        self.write(&[path.as_bytes(), &args])?;
        let result = self.export("call", (length(path.as_bytes())?, length(&args)?))?;
        self.finish(result)
    }

    /// Makes `name` a global function (dots make tables) whose calls wait for whoever starts the run (revision 3).
    pub fn declare(&mut self, name: &str) -> Result<(), Error> {
        self.needs(Revision::Three, "runs that wait")?;
        self.write(&[name.as_bytes()])?;
        let number = self.store.data_mut().requests.declare(name);
        let result = self.export("register_function", (length(name.as_bytes())?, number))?;
        self.finish(result).map(drop)
    }

    /// As [`compute_named`](Self::compute_named) with a run that may wait; `None` when it does. There is one such run at
    /// a time (revision 3).
    pub fn start(&mut self, source: impl AsRef<[u8]>, args: &Message) -> Result<Option<Outcome>, Error> {
        self.may_start()?;
        let (source, args) = (source.as_ref(), args.encode()?);
        self.step("compute_named", &[source, &args], (0, length(source)?, length(&args)?))
    }

    /// As [`call`](Self::call) with a run that may wait; `None` when it does.
    pub fn start_call(&mut self, path: &str, args: &Message) -> Result<Option<Outcome>, Error> {
        self.may_start()?;
        let (path, args) = (path.as_bytes(), args.encode()?);
        self.step("call", &[path, &args], (length(path)?, length(&args)?))
    }

    /// Whether a run waits. `compute` and `call` still work then, as part of it.
    pub fn is_waiting(&self) -> bool {
        self.store.data().requests.started
    }

    /// What the run waits for, in the order of the ids. `task.sleep` is a request too; its argument is in seconds.
    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        self.store.data().requests.open.values()
    }

    /// Answers a request. The script gets the values when the run is resumed.
    pub fn answer(&mut self, id: u32, values: &Message) -> Result<(), Error> {
        self.store.data_mut().requests.settle(id, requests::RESULTS, values)
    }

    /// Answers a request with an error, which the script can catch.
    pub fn fail(&mut self, id: u32, message: &str) -> Result<(), Error> {
        self.store.data_mut().requests.settle(id, requests::FAILED, &Message::new([message.into()]))
    }

    /// Goes on with the answers that were given, as many as they are; `None` when the run waits again.
    pub fn resume(&mut self) -> Result<Option<Outcome>, Error> {
        if !self.is_waiting() {
            return Err(Error::Run("no run waits"));
        }
        let answers = self.store.data().requests.answers.clone();
        self.step("resume", &[&answers], length(&answers)?)
    }

    /// Ends the run that waits, if there is one. What it wrote to tables stays.
    pub fn cancel(&mut self) -> Result<(), Error> {
        // Again if runs inside it have cancelled all its tasks: then it goes on up to its next request.
        while self.is_waiting() {
            self.store.data_mut().requests.interrupt();
            match self.resume() {
                Ok(_) | Err(Error::Lua(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A full garbage collection.
    pub fn collect_garbage(&mut self) -> Result<(), Error> {
        self.export("run_gc", ())
    }

    /// What the guest says of its memory.
    pub fn memory_stats(&mut self) -> Result<MemoryStats, Error> {
        let ptr = self.buffer_ptr.call(&mut self.store, ())?;
        self.export::<_, ()>("get_memory_stats", ptr)?;
        let stats = self.buffer(12)?;
        let number = |at| stats.get(at..).and_then(|s| s.first_chunk()).map(|s| u32::from_le_bytes(*s)).unwrap_or(0);
        Ok(MemoryStats { buffer_size: number(0), used: number(4), pages: number(8) })
    }

    /// Bytes of the guest's memory, as wasmtime sees it.
    pub fn memory_size(&self) -> usize {
        self.memory.data_size(&self.store)
    }

    /// The id that the next new table gets; the next VM on the same tables has to know it.
    pub fn next_table_id(&mut self) -> Result<u32, Error> {
        self.export("allocate_table_ids", 0)
    }

    /// Id of the table `_io`.
    pub fn io_table_id(&mut self) -> Result<u32, Error> {
        self.export("get_io_table_id", ())
    }

    /// Id of the table `_home`.
    pub fn home_table_id(&mut self) -> Result<u32, Error> {
        self.export("get_memory_table_id", ())
    }

    /// The tables, while the VM lives.
    pub fn tables(&mut self) -> &mut Tables {
        &mut self.store.data_mut().tables
    }

    /// Ends the VM; its tables stay.
    pub fn into_tables(self) -> Tables {
        self.store.into_data().tables
    }

    /// Calls any export by its name, with its own types.
    pub fn export<P: WasmParams, R: WasmResults>(&mut self, name: &str, params: P) -> Result<R, Error> {
        let function = self.instance.get_typed_func::<P, R>(&mut self.store, name)?;
        Ok(function.call(&mut self.store, params)?)
    }

    fn needs(&self, revision: Revision, what: &'static str) -> Result<(), Error> {
        if self.store.data().revision >= revision { Ok(()) } else { Err(Error::Revision(what, revision)) }
    }

    /// Makes sure that a run can be started.
    fn may_start(&self) -> Result<(), Error> {
        self.needs(Revision::Three, "runs that wait")?;
        if self.is_waiting() { Err(Error::Run("a run waits already")) } else { Ok(()) }
    }

    /// Lets a run go that its starter answers, from its beginning or from where it waited.
    fn step<P: WasmParams>(&mut self, name: &str, parts: &[&[u8]], params: P) -> Result<Option<Outcome>, Error> {
        self.write(parts)?;
        self.store.data_mut().requests.begin();
        let result = self.export(name, params);
        let requests = &mut self.store.data_mut().requests;
        if matches!(result, Ok(WAITS)) && !requests.open.is_empty() {
            return Ok(None);
        }
        requests.end();
        self.finish(result?).map(Some)
    }

    /// Puts `parts` one behind another into the I/O buffer.
    fn write(&mut self, parts: &[&[u8]]) -> Result<(), Error> {
        let bytes = parts.concat();
        let mut room = self.room()?;
        if bytes.len() > room && self.store.data().revision >= Revision::Two {
            self.export::<_, u32>("reserve_buffer", length(&bytes)?)?;
            room = self.room()?;
        }
        if bytes.len() > room {
            return Err(Error::TooLarge { size: bytes.len(), room });
        }
        let ptr = self.buffer_ptr.call(&mut self.store, ())?;
        self.memory
            .write(&mut self.store, ptr as usize, &bytes)
            .map_err(|_| protocol("the I/O buffer is not inside the memory"))
    }

    /// A copy of the first bytes of the I/O buffer. Its place is asked for each time: with revision 2 it can move.
    fn buffer(&mut self, length: usize) -> Result<Vec<u8>, Error> {
        let room = self.room()?;
        if length > room {
            return Err(protocol(format!("it speaks of {length} bytes in a buffer of {room}")));
        }
        let ptr = self.buffer_ptr.call(&mut self.store, ())? as usize;
        let memory = self.memory.data(&self.store);
        match ptr.checked_add(length).and_then(|end| memory.get(ptr..end)) {
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err(protocol("the I/O buffer is not inside the memory")),
        }
    }

    fn room(&mut self) -> Result<usize, Error> {
        Ok(self.buffer_size.call(&mut self.store, ())? as usize)
    }

    /// Makes sense of what `compute` and its kin return.
    fn finish(&mut self, result: i32) -> Result<Outcome, Error> {
        if result < 0 {
            // -n - 1 bytes of message; the complement of a negative number is exactly that.
            let message = self.buffer(!result as usize)?;
            return Err(Error::Lua(message));
        }
        if result == 0 {
            return Ok(Outcome::default());
        }
        let bytes = self.buffer(result as usize)?;
        let (output, values) = bytes
            .split_first_chunk()
            .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize))
            .ok_or_else(|| protocol("a result is shorter than its output"))?;
        Ok(Outcome { output: output.to_vec(), returned: Message::decode(values)? })
    }
}

/// A length as the guest wants it.
fn length(bytes: &[u8]) -> Result<i32, Error> {
    i32::try_from(bytes.len()).map_err(|_| Error::TooLarge { size: bytes.len(), room: i32::MAX as usize })
}
