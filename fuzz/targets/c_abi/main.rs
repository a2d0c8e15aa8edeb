//! The C interface: calls in any order, with NULL now and then, from host functions too. What the header promises has
//! to hold: an error if and only if the status says so, no panic, and each finalizer runs once.
#![no_main]

#[macro_use]
mod machine;
mod callbacks;
mod op;

use std::ptr::{null, null_mut};

use libfuzzer_sys::fuzz_target;
use luacell_ffi::config::{luacell_compute_options, luacell_limits, luacell_sandbox_config};
use luacell_ffi::error::*;
use luacell_ffi::host_function::*;
use luacell_ffi::outcome::*;
use luacell_ffi::pointers::luacell_bytes;
use luacell_ffi::run::*;
use luacell_ffi::sandbox::*;
use luacell_ffi::snapshot::*;
use luacell_ffi::store::*;
use luacell_ffi::table::*;
use luacell_ffi::value::*;

use callbacks::*;
use machine::{ALIVE, Pool, checked, machine, read};
use op::{Config, Input, Io, Limits, Op, Read, Slot, Text, is_wrong, limits};

fn config(given: &Config, limits: &luacell_limits) -> luacell_sandbox_config {
    let flag = |bit: u8| given.flags & (1 << bit) != 0;
    let mut config: luacell_sandbox_config = unsafe { std::mem::zeroed() };
    config.size = size_of::<luacell_sandbox_config>();
    config.limits = limits;
    config.store = given.store.map_or(null_mut(), |slot| object!(stores, slot));
    config.conflict_retries = given.retries.into();
    config.no_memory_alias = flag(0);
    config.deterministic = flag(1);
    config.seed = given.seed;
    if flag(2) {
        config.print = Some(on_print);
        config.print_userdata = userdata();
        config.print_finalizer = Some(finalizer);
    }
    if flag(3) {
        config.find_module = Some(find_module);
        config.find_module_userdata = userdata();
        config.find_module_finalizer = Some(finalizer);
    }
    if flag(4) && flag(5) {
        // A store that can't be opened.
        (config.location, config.location_len) = (c"no/such/folder".as_ptr(), if flag(6) { 0 } else { 14 });
    }
    config
}

/// Calls `body` with limits that a sandbox always has here.
fn configured(given: Option<Config>, body: impl FnOnce(*const luacell_sandbox_config)) {
    let given = given.unwrap_or(Config {
        limits: Limits { instructions: 20_000, others: [0; 6], size: 0 },
        store: None,
        flags: 0,
        seed: 0,
        retries: 0,
    });
    let limits = limits(&given.limits);
    body(&raw const *Box::new(config(&given, &limits)));
}

fn with_options(
    given: &Option<(Text, Slot, Option<Limits>)>,
    body: impl FnOnce(*const luacell_compute_options),
) {
    let Some((name, args, bounds)) = given else { return body(null()) };
    let limits = bounds.as_ref().map(limits);
    let options = luacell_compute_options {
        size: size_of::<luacell_compute_options>(),
        name: name.data(),
        name_len: name.len(),
        args: object!(lists, *args),
        limits: limits.as_ref().map_or(null(), |limits| limits),
        ..unsafe { std::mem::zeroed() }
    };
    body(&options);
}

fn of_wrong_size(options: *const luacell_compute_options) -> bool {
    unsafe { options.as_ref() }.is_some_and(|options| is_wrong(options.limits))
}

/// What may not happen inside of a host function: freeing or changing what a call around it was lent.
fn outside(op: &Op) -> bool {
    matches!(
        op,
        Op::FreeValue(_)
            | Op::FreeList(_)
            | Op::FreeSandbox(_)
            | Op::FreeRun(_)
            | Op::FreeSnapshot(_)
            | Op::FreeStore(_)
            | Op::FreeInterrupter(_)
            | Op::Push(..)
            | Op::PushOther(..)
            | Op::PushOwn(..)
            | Op::Put(..)
            | Op::PutOwn(..)
            | Op::TableClear(_)
    )
}

pub fn run(op: Op) {
    if machine(|m| m.depth) > 0 && outside(&op) {
        return;
    }
    match op {
        Op::Nil => machine(|m| m.values.keep(luacell_value_new_nil())),
        Op::Boolean(boolean) => machine(|m| m.values.keep(luacell_value_new_boolean(boolean))),
        Op::Integer(integer) => machine(|m| m.values.keep(luacell_value_new_integer(integer))),
        Op::Float(number) => machine(|m| m.values.keep(luacell_value_new_float(number))),
        Op::Bytes(text) => {
            let value = unsafe { luacell_value_new_string(text.data(), text.len()) };
            assert_eq!(value.is_null(), matches!(text, Text::Null));
            machine(|m| m.values.keep(value));
        }
        Op::Table => machine(|m| m.values.keep(luacell_value_new_table())),
        Op::Clone(value) => {
            let value = object!(values, value);
            let copy = unsafe { luacell_value_clone(value) };
            assert_eq!(unsafe { luacell_value_type(value) }, unsafe { luacell_value_type(copy) });
            machine(|m| m.values.keep(copy));
        }
        Op::Read(value, what) => read_value(object!(values, value), &what),
        Op::Compare(a, b) => {
            let (a, b) = (object!(values, a), object!(values, b));
            let equal = unsafe { luacell_value_equal(a, b) };
            assert_eq!(equal, unsafe { luacell_value_equal(b, a) });
            if unsafe { luacell_value_same_table(a, b) } {
                assert_eq!(unsafe { luacell_value_type(a) }, unsafe { luacell_value_type(b) });
            }
        }
        Op::List => machine(|m| m.lists.keep(luacell_values_new())),
        Op::Push(list, value) => {
            let list = object!(lists, list);
            let before = unsafe { luacell_values_len(list) };
            if before < 100 && call!(luacell_values_push(list, object!(values, value))) {
                assert_eq!(unsafe { luacell_values_len(list) }, before + 1);
            }
        }
        Op::PushOther(list, text) => {
            let list = object!(lists, list);
            if unsafe { luacell_values_len(list) } > 100 {
                return;
            }
            call!(luacell_values_push_string(list, text.data(), text.len()));
            match text.len() % 4 {
                0 => call!(luacell_values_push_nil(list)),
                1 => call!(luacell_values_push_boolean(list, true)),
                2 => call!(luacell_values_push_integer(list, i64::MIN)),
                _ => call!(luacell_values_push_float(list, f64::NAN)),
            };
        }
        Op::PushOwn(list, position) => {
            let list = object!(lists, list);
            if unsafe { luacell_values_len(list) } < 100 {
                call!(luacell_values_push(list, luacell_values_get(list, position.into())));
            }
        }
        Op::Put(list, position, value) => {
            call!(luacell_values_set(object!(lists, list), position.into(), object!(values, value)));
        }
        Op::PutOwn(list, position, from) => {
            let list = object!(lists, list);
            call!(luacell_values_set(list, position.into(), luacell_values_get(list, from.into())));
        }
        Op::Item(list, position) => {
            let list = object!(lists, list);
            let item = unsafe { luacell_values_get(list, position.into()) };
            assert_eq!(item.is_null(), usize::from(position) >= unsafe { luacell_values_len(list) });
            let copy = unsafe { luacell_value_clone(item) };
            machine(|m| m.values.keep(copy));
        }
        Op::TableGet(table, key) => make!(values, luacell_table_get(object!(values, table), object!(values, key))),
        Op::TableField(table, name) => {
            make!(values, luacell_table_get_field(object!(values, table), name.data(), name.len()));
        }
        Op::TableSet(table, key, value) => {
            call!(luacell_table_set(object!(values, table), object!(values, key), object!(values, value)));
        }
        Op::TableSetField(table, name, value) => {
            call!(luacell_table_set_field(object!(values, table), name.data(), name.len(), object!(values, value)));
        }
        Op::TableAppend(table, value) => {
            call!(luacell_table_push(object!(values, table), object!(values, value)));
        }
        Op::TableCount(table) => {
            let mut count = 0;
            call!(luacell_table_count(object!(values, table), &raw mut count));
        }
        Op::TableEntries(table) => make!(lists, luacell_table_entries(object!(values, table))),
        Op::TableCopy(table) => make!(values, luacell_table_copy(object!(values, table))),
        Op::TableClear(table) => {
            call!(luacell_table_clear(object!(values, table)));
        }
        Op::Builder => machine(|m| m.builders.keep(luacell_table_builder_new())),
        Op::BuilderAdd(builder) => {
            let mut number = 0;
            call!(luacell_table_builder_add(object!(builders, builder), &raw mut number));
        }
        Op::BuilderSet(builder, table, key, value) => {
            let (key, value) = (object!(values, key), object!(values, value));
            call!(luacell_table_builder_set(object!(builders, builder), table.into(), key, value));
        }
        Op::BuilderSetTable(builder, table, key, inner) => {
            let key = object!(values, key);
            call!(luacell_table_builder_set_table(object!(builders, builder), table.into(), key, inner.into()));
        }
        Op::BuilderSetKey(builder, table, key, value) => {
            let (builder, value) = (object!(builders, builder), object!(values, value));
            call!(luacell_table_builder_set_with_table_key(builder, table.into(), key.into(), value));
        }
        Op::BuilderFinish(builder, table) => {
            make!(values, luacell_table_builder_finish(object!(builders, builder), table.into()));
        }
        Op::Sandbox(given) => configured(given, |config| make!(sandboxes, luacell_sandbox_new(null(), config))),
        Op::SandboxFrom(snapshot, given) => configured(given, |config| {
            make!(sandboxes, luacell_sandbox_new_from_snapshot(null(), object!(snapshots, snapshot), config));
        }),
        Op::Compute { sandbox, source, options } => with_options(&options, |options| {
            let made = made!(outcomes, luacell_compute(object!(sandboxes, sandbox), source.data(), source.len(), options));
            assert!(!(made && of_wrong_size(options)), "limits of a wrong size were taken");
        }),
        Op::Call { sandbox, name, options } => with_options(&options, |options| {
            let made = made!(outcomes, luacell_call(object!(sandboxes, sandbox), name.data(), name.len(), options));
            assert!(!(made && of_wrong_size(options)), "limits of a wrong size were taken");
        }),
        Op::CallFunction(function, args) => {
            make!(outcomes, luacell_function_call(object!(values, function), object!(lists, args)));
        }
        Op::Declare(sandbox, name) => {
            call!(luacell_declare(object!(sandboxes, sandbox), name.data(), name.len()));
        }
        Op::Start { sandbox, source, is_call, options } => with_options(&options, |options| {
            let (sandbox, data, len) = (object!(sandboxes, sandbox), source.data(), source.len());
            let made = if is_call {
                made!(runs, luacell_start_call(sandbox, data, len, options))
            } else {
                made!(runs, luacell_start(sandbox, data, len, options))
            };
            assert!(!(made && of_wrong_size(options)), "limits of a wrong size were taken");
        }),
        Op::WaitingRun(sandbox) => {
            let mut run = null_mut();
            call!(luacell_sandbox_waiting_run(object!(sandboxes, sandbox), &raw mut run));
            machine(|m| m.runs.keep(run));
        }
        Op::Requests(run) => read_requests(object!(runs, run)),
        Op::AnswerRequest { run, request, values } => {
            call!(luacell_run_answer(object!(runs, run), request.into(), object!(lists, values)));
        }
        Op::FailRequest { run, request, error } => {
            call!(luacell_run_fail(object!(runs, run), request.into(), object!(errors, error)));
        }
        Op::Resume(run) => {
            call!(luacell_run_resume(object!(runs, run)));
        }
        Op::Result(run) => make!(outcomes, luacell_run_result(object!(runs, run))),
        Op::CancelRun(run) => unsafe { luacell_run_cancel(object!(runs, run)) },
        Op::Outcome(outcome) => read_outcome(object!(outcomes, outcome)),
        Op::Io(sandbox, what) => io(object!(sandboxes, sandbox), &what),
        Op::SetIo(sandbox, what, value) => {
            let (sandbox, value) = (object!(sandboxes, sandbox), object!(values, value));
            match what {
                Io::Input => call!(luacell_sandbox_set_input(sandbox, value)),
                Io::Output => call!(luacell_sandbox_set_output(sandbox, value)),
                _ => call!(luacell_sandbox_set_meta(sandbox, value)),
            };
        }
        Op::Import(sandbox, blob) => {
            call!(luacell_sandbox_import_home(object!(sandboxes, sandbox), blob.data(), blob.len()));
        }
        Op::ImportOwn(sandbox, value) => {
            if let Some(blob) = string(object!(values, value)) {
                call!(luacell_sandbox_import_trusted_home(object!(sandboxes, sandbox), blob.as_ptr().cast(), blob.len()));
            }
        }
        Op::Register { sandbox, name, function, repeatable } => {
            let sandbox = object!(sandboxes, sandbox);
            let function: luacell_host_function = function.then_some(host_function as _);
            let (data, len) = (name.data(), name.len());
            if repeatable {
                call!(luacell_register_repeatable(sandbox, data, len, function, userdata(), Some(finalizer)));
            } else {
                call!(luacell_register(sandbox, data, len, function, userdata(), Some(finalizer)));
            }
        }
        Op::Unregister(sandbox, name) => {
            let mut was_there = false;
            call!(luacell_unregister(object!(sandboxes, sandbox), name.data(), name.len(), &raw mut was_there));
        }
        Op::Reset(sandbox) => {
            call!(luacell_sandbox_reset(object!(sandboxes, sandbox)));
        }
        Op::Close(sandbox) => {
            call!(luacell_sandbox_close(object!(sandboxes, sandbox)));
        }
        Op::Interrupt(sandbox) => unsafe { luacell_sandbox_interrupt(object!(sandboxes, sandbox)) },
        Op::Interrupter(sandbox) => make!(interrupters, luacell_interrupter_new(object!(sandboxes, sandbox))),
        Op::InterruptLater(slot) => unsafe { luacell_interrupter_interrupt(object!(interrupters, slot)) },
        Op::Snapshot(sandbox) => make!(snapshots, luacell_sandbox_snapshot(object!(sandboxes, sandbox))),
        Op::Restore(sandbox, snapshot) => {
            call!(luacell_sandbox_restore(object!(sandboxes, sandbox), object!(snapshots, snapshot)));
        }
        Op::Fork(sandbox) => make!(sandboxes, luacell_sandbox_fork(object!(sandboxes, sandbox))),
        Op::SnapshotBytes(snapshot) => make!(values, luacell_snapshot_to_bytes(object!(snapshots, snapshot))),
        Op::SnapshotOf(blob) => make!(snapshots, luacell_snapshot_from_bytes(null(), blob.data(), blob.len())),
        Op::SnapshotOfOwn(value) => {
            if let Some(blob) = string(object!(values, value)) {
                make!(snapshots, luacell_snapshot_from_bytes(null(), blob.as_ptr().cast(), blob.len()));
            }
        }
        Op::Store { missing } => {
            let functions = luacell_table_store {
                size: size_of::<luacell_table_store>(),
                userdata: userdata(),
                finalizer: Some(finalizer),
                get: Some(store_get),
                set: Some(store_set),
                remove: Some(store_remove),
                count: Some(store_count),
                keys: (!missing).then_some(store_keys as _),
            };
            make!(stores, luacell_store_new(&raw const functions));
        }
        Op::SyncStore(store) => {
            call!(luacell_store_sync(object!(stores, store)));
        }
        Op::Error(text) => {
            let error = unsafe { luacell_error_new(text.data(), text.len(), userdata(), Some(finalizer)) };
            unsafe { alive(luacell_error_userdata(error)) };
            checked("luacell_error_new", unsafe { luacell_error_status(error) }, error);
        }
        Op::Raise(value) => {
            let error = unsafe { luacell_error_raise(object!(values, value)) };
            checked("luacell_error_raise", unsafe { luacell_error_status(error) }, error);
        }
        Op::Inspect(error) => inspect(object!(errors, error)),
        Op::Answer(..) => {}
        Op::FreeValue(slot) => free!(values, slot, luacell_value_free),
        Op::FreeList(slot) => free!(lists, slot, luacell_values_free),
        Op::FreeOutcome(slot) => free!(outcomes, slot, luacell_outcome_free),
        Op::FreeRun(slot) => free!(runs, slot, luacell_run_free),
        Op::FreeError(slot) => free!(errors, slot, luacell_error_free),
        Op::FreeSandbox(slot) => free!(sandboxes, slot, luacell_sandbox_free),
        Op::FreeSnapshot(slot) => free!(snapshots, slot, luacell_snapshot_free),
        Op::FreeStore(slot) => free!(stores, slot, luacell_store_free),
        Op::FreeInterrupter(slot) => free!(interrupters, slot, luacell_interrupter_free),
        Op::FreeBuilder(slot) => machine(|m| m.builders.free(slot)),
    }
}

fn read_value(value: *const luacell_value, what: &Read) {
    match what {
        Read::Boolean => {
            let mut result = false;
            call!(luacell_value_to_boolean(value, &raw mut result));
        }
        Read::Integer => {
            let mut result = 0;
            call!(luacell_value_to_integer(value, &raw mut result));
        }
        Read::Number => {
            let mut result = 0.0;
            call!(luacell_value_to_number(value, &raw mut result));
        }
        Read::Bytes => {
            let mut result = luacell_bytes::default();
            if call!(luacell_value_to_string(value, &raw mut result)) {
                read(result);
            }
        }
        Read::Name => {
            read(unsafe { luacell_value_builtin_name(value) });
        }
    }
}

/// The bytes of a string value.
fn string<'a>(value: *const luacell_value) -> Option<&'a [u8]> {
    let mut result = luacell_bytes::default();
    call!(luacell_value_to_string(value, &raw mut result)).then(|| read(result))
}

fn read_outcome(outcome: *const luacell_outcome) {
    unsafe {
        read(luacell_outcome_output(outcome));
        let values = luacell_outcome_values(outcome);
        let first = luacell_value_type(luacell_outcome_value(outcome));
        assert_eq!(first, luacell_value_type(luacell_values_get(values, 0)));
        for position in 0..luacell_values_len(values) {
            let copy = luacell_value_clone(luacell_values_get(values, position));
            machine(|m| m.values.keep(copy));
        }
    }
    let mut metrics = metrics();
    call!(luacell_outcome_metrics(outcome, &raw mut metrics));
}

/// The arguments live as long as the list.
fn read_requests(run: *const luacell_run) {
    let mut requests = null_mut();
    if !call!(luacell_run_requests(run, &raw mut requests)) {
        return;
    }
    unsafe {
        for position in 0..luacell_requests_len(requests) {
            assert!(luacell_requests_id(requests, position) > 0);
            read(luacell_requests_name(requests, position));
            let args = luacell_requests_args(requests, position);
            for argument in 0..luacell_values_len(args) {
                let copy = luacell_value_clone(luacell_values_get(args, argument));
                machine(|m| m.values.keep(copy));
            }
        }
        luacell_requests_free(requests);
    }
}

fn metrics() -> luacell_metrics {
    luacell_metrics { size: size_of::<luacell_metrics>(), ..unsafe { std::mem::zeroed() } }
}

fn inspect(error: *const luacell_error) {
    unsafe {
        read(luacell_error_message(error));
        read(luacell_error_chunk(error));
        read(luacell_error_traceback(error));
        read(luacell_error_output(error));
        luacell_error_line(error);
        let userdata = luacell_error_userdata(error);
        if !userdata.is_null() {
            alive(userdata);
        }
        let copy = luacell_value_clone(luacell_error_value(error));
        machine(|m| m.values.keep(copy));
    }
    let mut metrics = metrics();
    call!(luacell_error_metrics(error, &raw mut metrics));
}

fn io(sandbox: *mut luacell_sandbox, what: &Io) {
    match what {
        Io::Input => make!(values, luacell_sandbox_input(sandbox)),
        Io::Output => make!(values, luacell_sandbox_output(sandbox)),
        Io::Meta => make!(values, luacell_sandbox_meta(sandbox)),
        Io::Home => make!(values, luacell_sandbox_home(sandbox)),
        Io::Export => make!(values, luacell_sandbox_export_home(sandbox)),
        Io::Clear => {
            call!(luacell_sandbox_clear_io(sandbox));
        }
        Io::Collect => {
            call!(luacell_sandbox_gc(sandbox));
        }
        Io::Stats => {
            let mut stats: luacell_memory_stats = unsafe { std::mem::zeroed() };
            stats.size = size_of::<luacell_memory_stats>();
            call!(luacell_sandbox_memory_stats(sandbox, &raw mut stats));
        }
        Io::Tables => {
            let mut count = 0;
            call!(luacell_sandbox_table_count(sandbox, &raw mut count));
        }
    }
}

/// Everything, in an order that depends on nothing. Not while the machine is borrowed: finalizers run.
fn free_all() {
    macro_rules! all {
        ($($pool:ident)+) => {
            $(let mut pool = machine(|m| Pool(std::mem::take(&mut m.$pool.0), m.$pool.1));
            pool.free_all();)+
        };
    }
    all!(stores sandboxes runs values lists outcomes errors snapshots interrupters builders);
}

fuzz_target!(|input: Input| {
    machine(|m| {
        m.ops = input.ops.into_iter().take(64).collect();
        m.answers = input.answers.into();
    });
    // Something to begin with.
    run(Op::Sandbox(None));
    run(Op::Register { sandbox: 0, name: Text::Known(0), function: true, repeatable: false });
    run(Op::List);
    while let Some(op) = machine(|m| m.ops.pop_front()) {
        run(op);
    }
    free_all();
    assert_eq!(ALIVE.get(), 0, "userdata without an end");
});
