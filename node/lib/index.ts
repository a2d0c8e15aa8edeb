/** luacell for Node.js: runs untrusted Lua 5.4, sandboxed and bounded, with tables that are kept. */
export { Engine, type EngineOptions } from './engine.js';
export { type ErrorKind, ErrorKinds, LuaCellError, type Metrics } from '../shared/errors.js';
export { type HostFunction, type MultipleResults, type RegisterOptions, multiple } from '../shared/functions.js';
export type { LimitOptions, Size, StoreLimit } from '../shared/limits.js';
export type { Module } from '../shared/modules.js';
export { type ExposeOptions, type MetamethodName, type Wrapped, expose, wrap } from '../shared/objects.js';
export type { Outcome } from '../shared/outcome.js';
export type { AsyncRunOptions, AsyncStartOptions, ModuleSource, Modules, RunOptions, SandboxOptions, StartOptions, TableStore } from './settings.js';
export { type PendingRun, type Request, Run } from './run.js';
export { type MemoryStats, Sandbox } from './sandbox.js';
export type { RestoreOptions } from '../shared/options.js';
export { Snapshot } from './snapshot.js';
export { StoredTable } from '../shared/stored.js';
export { LuaFloat, type LuaFunction, type LuaInput, type LuaObject, type LuaValue, type ToLua } from '../shared/values.js';
