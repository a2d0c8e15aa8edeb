//! The guest for wasmtime: started once, so that its memory holds a ready Lua, snapshotted, and compiled for the
//! target. The result is embedded into the library: at run time nothing has to be compiled or started.

use std::env;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasmtime::{Config, Engine, Instance, Linker, Module, OptLevel, Store, Val};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};

use crate::{Result, preset, wasm_config};

pub(crate) fn build(wasm: &[u8], out: &Path) -> Result<()> {
    // A program that is built for size unpacks the guest when it makes its first engine.
    let packed = env::var("OPT_LEVEL").is_ok_and(|level| level == "s" || level == "z");
    if packed {
        println!("cargo:rustc-cfg=packed_guest");
    }
    let finish = |code: Vec<u8>| if packed { miniz_oxide::deflate::compress_to_vec(&code, 10) } else { code };
    let ready = snapshot(wasm)?;
    std::fs::write(out.join("guest.cwasm"), finish(compile(&ready, false)?))?;
    if env::var_os("CARGO_FEATURE_HARDENED").is_some() {
        std::fs::write(out.join("guest-hardened.cwasm"), finish(compile(&ready, true)?))?;
    }
    Ok(())
}

/// The module as it is after its initialisation.
fn snapshot(wasm: &[u8]) -> Result<Vec<u8>> {
    let wizer = Wizer::new();
    let (context, instrumented) = wizer.instrument(wasm)?;
    let engine = Engine::new(&wasm_config::shared_config())?;
    let module = Module::new(&engine, &instrumented)?;
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    for import in module.imports() {
        let ty = import.ty();
        let ty = ty.func().ok_or("the guest imports something that is not a function")?;
        // No table exists while the guest starts.
        linker.func_new(import.module(), import.name(), ty.clone(), |_, _, results| {
            results.fill(Val::I32(-1));
            Ok(())
        })?;
    }
    let instance = linker.instantiate(&mut store, &module)?;
    let init = instance.get_typed_func::<(), i32>(&mut store, "init")?;
    if init.call(&mut store, ())? != 0 {
        return Err("the guest's init failed".into());
    }
    for (name, argument) in preset::SETTINGS {
        if let Ok(set) = instance.get_typed_func::<i32, ()>(&mut store, name) {
            set.call(&mut store, argument)?;
        }
    }
    let mut state = State { store, instance };
    Ok(ready_future(wizer.snapshot(&context, &mut state))??)
}

fn compile(wasm: &[u8], hardened: bool) -> Result<Vec<u8>> {
    #[cfg(not(feature = "pulley"))]
    let target = env::var("TARGET")?;
    #[cfg(feature = "pulley")]
    let target = wasm_config::interpreter(
        &env::var("CARGO_CFG_TARGET_POINTER_WIDTH")?,
        env::var("CARGO_CFG_TARGET_ENDIAN")? == "big",
    );
    let mut config: Config = wasm_config::shared_config();
    config.cranelift_opt_level(OptLevel::Speed).epoch_interruption(hardened);
    // With a target named, only what every processor of that kind has is used, not what the building machine has.
    config.target(&target)?;
    if target.starts_with("x86_64") {
        // Rounding and bit counting in one instruction each; every x86-64 processor since 2009 can do it, and loading
        // the code checks for it.
        for flag in ["has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"] {
            #[allow(
                unsafe_code,
                reason = "these flags only name instructions; loading the code verifies that the processor has them"
            )]
            unsafe {
                config.cranelift_flag_enable(flag);
            }
        }
    }
    Ok(Engine::new(&config)?.precompile_module(wasm)?)
}

/// Runs a future that has nothing to wait for.
fn ready_future<T>(future: impl Future<Output = T>) -> Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Ok(value),
        Poll::Pending => Err("the snapshot has to wait for something".into()),
    }
}

struct State {
    store: Store<()>,
    instance: Instance,
}

impl InstanceState for State {
    #[allow(clippy::expect_used, clippy::panic, reason = "the trait wants a panic here, and a build may fail that way")]
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        let global = self.instance.get_global(&mut self.store, name).expect("exported by the instrumentation");
        match global.get(&mut self.store) {
            Val::I32(n) => SnapshotVal::I32(n),
            Val::I64(n) => SnapshotVal::I64(n),
            Val::F32(n) => SnapshotVal::F32(n),
            Val::F64(n) => SnapshotVal::F64(n),
            other => panic!("a global of unexpected type: {other:?}"),
        }
    }

    #[allow(clippy::expect_used, reason = "as above")]
    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        let memory = self.instance.get_memory(&mut self.store, name).expect("exported by the instrumentation");
        contents(memory.data(&self.store));
    }
}
