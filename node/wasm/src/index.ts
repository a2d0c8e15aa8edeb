/** luacell for JavaScript without native code: browsers, Deno, edge runtimes, Node.js. */
export { Engine, type WasmSource } from './engine.js';
export { type ErrorKind, ErrorKinds, LuaCellError, type Metrics } from './errors.js';
export { type HostFunction, type MultipleResults, multiple } from './functions.js';
export { IndexedDBStore, type IndexedDBOptions, openIndexedDB } from './indexeddb.js';
export type { LimitOptions, Size, StoreLimit } from './limits.js';
export type { Module, Modules } from './modules.js';
export type { Outcome } from './outcome.js';
export { type AsyncRunOptions, type MemoryStats, type RunOptions, Sandbox, type SandboxOptions } from './sandbox.js';
export type { RestoreOptions } from './options.js';
export { Snapshot } from './snapshot.js';
export { StoredTable } from './stored.js';
export type { TableStore, Write } from './tables.js';
export { LuaFloat, type LuaFunction, type LuaInput, type LuaObject, type LuaValue, type ToLua } from './values.js';
