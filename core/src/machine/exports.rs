//! The functions that core calls in the guest. The build script reads this list too, for the guest that is translated
//! to C.

/// Hands the list to a macro.
macro_rules! for_each_export {
    ($with:ident) => {
        $with! {
            compute(source: i32, len: i32) -> i32;
            compute_named(name_len: i32, code_len: i32, args_len: i32) -> i32;
            call(path_len: i32, args_len: i32) -> i32;
            call_handle(handle: i32, args_len: i32) -> i32;
            resume(len: i32) -> i32;
            register_function(name_len: i32, id: i32) -> i32;
            unregister_function(name_len: i32, id: i32) -> i32;
            init() -> i32;
            get_buffer_ptr() -> i32;
            get_buffer_size() -> i32;
            get_memory_stats(ptr: i32);
            get_memory_start() -> i32;
            get_memory_end() -> i32;
            run_gc();
            attach_memory_table(id: i32);
            sync_external_table_counter(next_id: i32);
            set_memory_alias_enabled(flag: i32);
            get_protocol_revision() -> i32;
            set_host_revision(revision: i32);
            set_transactional(flag: i32);
            reserve_buffer(size: i32) -> i32;
            release_handle(handle: i32);
            forget_handles();
            get_error_details() -> i32;
            set_memory_limit(bytes: i32);
            allocate_table_ids(count: i32) -> i32;
            list_table_ids() -> i32;
            list_host_values() -> i32;
            set_table_counter(next_id: i32);
            leave_tables(next_id: i32) -> i32;
            settle_random();
            forget_tables(len: i32);
            undo_run();
            set_transaction(flag: i32);
            set_keep_failed(flag: i32);
            set_output_limit(bytes: i32);
            review_limits() -> i32;
            set_print_streaming(flag: i32);
            set_deterministic(flag: i32);
            set_instruction_grant(ticks: i32);
            get_run_metrics() -> i32;
            set_waiting(flag: i32);
            list_requests() -> i32;
            begin_checkpoint() -> i32;
            end_checkpoint();
        }
    };
}

pub(crate) use for_each_export;
