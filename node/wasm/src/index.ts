/** luacell for JavaScript without native code: browsers, Deno, edge runtimes, Node.js. */
export { Engine, type WasmSource } from './engine.js';
export { type ErrorKind, ErrorKinds, LuaCellError, type Metrics } from '../../shared/errors.js';
export { type HostFunction, type MultipleResults, type RegisterOptions, multiple } from '../../shared/functions.js';
export { IndexedDBStore, type IndexedDBOptions, openIndexedDB } from './indexeddb.js';
export type { LimitOptions, Size, StoreLimit } from '../../shared/limits.js';
export type { Module, Modules } from '../../shared/modules.js';
export { type ExposeOptions, type MetamethodName, type Wrapped, expose, wrap } from '../../shared/objects.js';
export type { Outcome } from '../../shared/outcome.js';
export { type PendingRun, type Request, Run } from './run.js';
export { type AsyncRunOptions, type AsyncStartOptions, type MemoryStats, type RunOptions, Sandbox, type SandboxOptions, type StartOptions } from './sandbox.js';
export type { RestoreOptions } from '../../shared/options.js';
export { Snapshot } from './snapshot.js';
export { StoredTable } from '../../shared/stored.js';
export type { TableStore, Write } from './tables.js';
export { LuaFloat, type LuaFunction, type LuaInput, type LuaObject, type LuaValue, type ToLua } from '../../shared/values.js';
