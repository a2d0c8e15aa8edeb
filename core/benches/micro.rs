//! What is done often, each by itself: `cargo bench -p luacell`, with a filter as in `cargo bench -p luacell -- call`.
//!
//! `cargo xtask bench` measures the same beside other Luas.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails may end")]

use divan::{Bencher, black_box};
use luacell::{Engine, EngineConfig, Sandbox, SandboxConfig, Table, Value, wire};

fn main() {
    divan::main();
}

fn sandbox_with(source: &str) -> Sandbox {
    let sandbox = Sandbox::new().unwrap();
    sandbox.compute(source).unwrap();
    sandbox
}

/// 1,000 records of three fields.
fn records() -> Table {
    let mut list = Table::new();
    for i in 1..=1000 {
        let mut record = Table::new();
        record.set("id", i).unwrap();
        record.set("name", format!("record {i}")).unwrap();
        record.set("value", f64::from(i) * 0.5).unwrap();
        list.push(record);
    }
    list
}

mod sandbox {
    use super::*;

    #[divan::bench]
    fn create_and_drop(bencher: Bencher<'_, '_>) {
        let engine = Engine::new(EngineConfig::default()).unwrap();
        // What a benchmark returns is dropped outside of the time that counts.
        bencher.bench_local(|| drop(engine.sandbox(SandboxConfig::new()).unwrap()));
    }

    #[divan::bench]
    fn create_compute_and_drop(bencher: Bencher<'_, '_>) {
        let engine = Engine::new(EngineConfig::default()).unwrap();
        bencher.bench_local(|| engine.sandbox(SandboxConfig::new()).unwrap().compute("return 1+1").unwrap());
    }

    #[divan::bench]
    fn snapshot(bencher: Bencher<'_, '_>) {
        let sandbox = sandbox_with("x = 1");
        bencher.bench_local(|| sandbox.snapshot().unwrap());
    }

    #[divan::bench]
    fn restore(bencher: Bencher<'_, '_>) {
        let sandbox = sandbox_with("x = 1");
        let snapshot = sandbox.snapshot().unwrap();
        bencher.bench_local(|| sandbox.restore(&snapshot).unwrap());
    }
}

mod run {
    use super::*;

    #[divan::bench]
    fn compute(bencher: Bencher<'_, '_>) {
        let sandbox = sandbox_with("");
        bencher.bench_local(|| sandbox.compute(black_box("return 1+1")).unwrap());
    }

    #[divan::bench]
    fn call(bencher: Bencher<'_, '_>) {
        let sandbox = sandbox_with("function sum(a, b) return a + b end");
        bencher.bench_local(|| sandbox.call("sum", black_box((1, 2))).unwrap());
    }

    /// A thousand of them.
    #[divan::bench]
    fn host_calls(bencher: Bencher<'_, '_>) {
        let sandbox = sandbox_with("");
        sandbox.register("add", |(a, b): (i64, i64)| Ok(a + b)).unwrap();
        bencher.bench_local(|| sandbox.compute("local add = add for i = 1, 1000 do add(i, 2) end").unwrap());
    }

    #[divan::bench]
    fn records_in(bencher: Bencher<'_, '_>) {
        let sandbox = sandbox_with("function count(list) return #list end");
        let records = records();
        bencher.bench_local(|| sandbox.call("count", (records.clone(),)).unwrap());
    }

    #[divan::bench]
    fn records_out(bencher: Bencher<'_, '_>) {
        let sandbox = sandbox_with(
            "local kept = {} for i = 1, 1000 do kept[i] = {id = i, name = 'record ' .. i, value = i * 0.5} end \
             function make() return kept end",
        );
        bencher.bench_local(|| sandbox.call("make", ()).unwrap());
    }
}

/// A thousand operations on a kept table, from inside Lua.
mod table {
    use super::*;

    fn bench(bencher: Bencher<'_, '_>, source: &str) {
        let sandbox = sandbox_with("_home.t = {} local t = _home.t for i = 1, 1000 do t[i] = i end");
        bencher.bench_local(|| sandbox.compute(source).unwrap());
    }

    #[divan::bench]
    fn get(bencher: Bencher<'_, '_>) {
        bench(bencher, "local t, x = _home.t for i = 1, 1000 do x = t[i] end");
    }

    #[divan::bench]
    fn set(bencher: Bencher<'_, '_>) {
        bench(bencher, "local t = _home.t for i = 1, 1000 do t[i] = i end");
    }

    #[divan::bench]
    fn pairs(bencher: Bencher<'_, '_>) {
        bench(bencher, "local n = 0 for _, v in pairs(_home.t) do n = n + v end return n");
    }
}

/// 1,000 records as bytes, without a guest.
mod codec {
    use super::*;

    #[divan::bench]
    fn encode(bencher: Bencher<'_, '_>) {
        let values = [Value::from(records())];
        let mut bytes = Vec::new();
        bencher.bench_local(|| {
            bytes.clear();
            wire::encode(black_box(&values), &mut bytes, &wire::NoHandles).unwrap();
        });
    }

    #[divan::bench]
    fn decode(bencher: Bencher<'_, '_>) {
        let mut bytes = Vec::new();
        wire::encode(&[Value::from(records())], &mut bytes, &wire::NoHandles).unwrap();
        bencher.bench_local(|| wire::decode(black_box(&bytes), &wire::NoHandles).unwrap());
    }
}
