//! How the guest is compiled and run. The build script and the library share this file: the settings of both must be
//! the same, or the compiled guest is refused when it is loaded.

use wasmtime::Config;

/// Memory accesses need no checks when any 32-bit address lies inside what is reserved.
const RESERVED: u64 = 4 << 30;
const GUARD: u64 = if cfg!(feature = "pulley") { 0 } else { 32 << 20 };

/// Everything that compiled code depends on, set explicitly, because defaults differ with the features that some other
/// user of wasmtime in the same program may have turned on.
pub(crate) fn shared_config() -> Config {
    let mut config = Config::new();
    config
        // An interpreter checks what it does.
        .signals_based_traps(!cfg!(feature = "pulley"))
        .memory_init_cow(true)
        .memory_reservation(RESERVED)
        .memory_guard_size(GUARD)
        .memory_may_move(false)
        .guard_before_linear_memory(!cfg!(feature = "pulley"))
        .consume_fuel(false)
        .epoch_interruption(false)
        .concurrency_support(false)
        .gc_support(false)
        .debug_info(false)
        .generate_address_map(false)
        .native_unwind_info(cfg!(windows))
        .wasm_backtrace_max_frames(None)
        .wasm_simd(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_extended_const(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        .wasm_stack_switching(false);
    config
}

/// What wasmtime's interpreter runs, for processors like the one that is compiled for.
#[cfg(feature = "pulley")]
pub(crate) fn interpreter(bits: &str, big_endian: bool) -> String {
    format!("pulley{bits}{}", if big_endian { "be" } else { "" })
}
