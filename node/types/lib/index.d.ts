/** luacell for Node.js: runs untrusted Lua 5.4, sandboxed and bounded, with tables that are kept. */
export { Engine, type EngineOptions } from './engine.js';
export { type ErrorKind, ErrorKinds, LuaCellError, type Metrics } from '../wasm/src/errors.js';
export { type HostFunction, type MultipleResults, multiple } from '../wasm/src/functions.js';
export type { LimitOptions, Size, StoreLimit } from '../wasm/src/limits.js';
export type { Module } from '../wasm/src/modules.js';
export type { Outcome } from '../wasm/src/outcome.js';
export type { AsyncRunOptions, ModuleSource, Modules, RunOptions, SandboxOptions, TableStore } from './options.js';
export { type MemoryStats, Sandbox } from './sandbox.js';
export type { RestoreOptions } from '../wasm/src/options.js';
export { Snapshot } from './snapshot.js';
export { StoredTable } from '../wasm/src/stored.js';
export { LuaFloat, type LuaFunction, type LuaInput, type LuaObject, type LuaValue, type ToLua } from '../wasm/src/values.js';
